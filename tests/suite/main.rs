//! Fast tests: no machine, no network.

mod provisioners;
