//! What `bramblectl` prints. The README shows the same text.
mod import;
mod readme;
mod repair;
mod status;

/// One test: the samples of one file are written one after the other.
#[test]
fn the_readme_shows_what_is_printed() {
    repair::samples();
    import::samples();
    status::sample();
}
