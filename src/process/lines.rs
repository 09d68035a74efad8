//! Reads the output of a program line by line.

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, BufReader, Split};

pub(super) fn split<R: AsyncRead + Unpin>(stream: R) -> Split<BufReader<R>> {
    BufReader::new(stream).split(b'\n')
}

/// Reads the next line of a stream. Sets the stream to `None` at its end.
pub(super) async fn next_line<R: AsyncBufRead + Unpin>(
    stream: &mut Option<Split<R>>,
) -> Option<std::io::Result<Vec<u8>>> {
    let read = stream.as_mut()?.next_segment().await.transpose();
    if read.is_none() {
        *stream = None;
    }
    read
}
