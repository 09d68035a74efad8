//! Traits that the type of secrets must not have.

use std::fmt::{Debug, Display};
use std::marker::PhantomData;

use serde::Serialize;
use vault_bake::secret::Secret;

/// Defines a constant of types for a trait. The constant of a type with the trait hides that of all
/// types.
macro_rules! has {
    ($name:ident, $bound:path) => {
        mod $name {
            use super::*;

            pub struct Of<T>(PhantomData<T>);

            pub trait Otherwise {
                const ANSWER: bool = false;
            }

            impl<T> Otherwise for Of<T> {}

            impl<T: $bound> Of<T> {
                pub const ANSWER: bool = true;
            }
        }
    };
}

has!(display, Display);
has!(debug, Debug);
has!(serialize, Serialize);

use debug::Otherwise as _;
use display::Otherwise as _;
use serialize::Otherwise as _;

#[test]
fn a_secret_cannot_be_shown_and_cannot_be_serialized() {
    let of_text = [
        display::Of::<String>::ANSWER,
        debug::Of::<String>::ANSWER,
        serialize::Of::<String>::ANSWER,
    ];
    assert_eq!(of_text, [true; 3], "the question finds what is there");
    let of_secrets = [
        display::Of::<Secret>::ANSWER,
        debug::Of::<Secret>::ANSWER,
        serialize::Of::<Secret>::ANSWER,
    ];
    assert_eq!(of_secrets, [false; 3]);
}
