pub(crate) mod replicated;
