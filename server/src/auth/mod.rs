//! Who asks. What they may do is the store's to say.
pub(crate) mod certificate;
