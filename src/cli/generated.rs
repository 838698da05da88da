//! Parts of pages that are made from the code: what stands between two marks.

/// Asserts that a page of the repository has this under a name; with `ENVCTL_BLESS`, writes it there.
#[track_caller]
pub(super) fn is_in(page: &str, name: &str, part: &str) {
    let path = format!("{}/{page}", env!("CARGO_MANIFEST_DIR"));
    let there = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let (begin, end) = (format!("<!-- {name} -->\n\n"), format!("\n<!-- end of {name} -->"));
    let (before, rest) = there.split_once(&begin).unwrap_or_else(|| panic!("{page} has no {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{page} has no {end}"));
    let now = format!("{before}{begin}{part}{end}{after}");
    if std::env::var_os("ENVCTL_BLESS").is_some() {
        std::fs::write(&path, &now).unwrap_or_else(|e| panic!("{path}: {e}"));
        return;
    }
    assert!(there == now, "{page} is out of date: run the tests once with ENVCTL_BLESS=1");
}
