# Idle sessions end, shells keep no history, and new files are private.
umask 027
ulimit -c 0
TMOUT=900
HISTFILE=
readonly TMOUT
export TMOUT HISTFILE
