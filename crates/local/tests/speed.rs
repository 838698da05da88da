//! How fast an unchanged build context is recognised.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::Path;
use std::time::{Duration, Instant};

use envctl_local::images::Context;

/// 50 ms is what a release build is to take on a laptop (`make bench` measures that); here, without
/// optimisation and beside other tests, the limit only catches a cache that does not work.
#[test]
fn ten_thousand_unchanged_files_are_recognised_without_being_read() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("Dockerfile"), "FROM scratch").unwrap();
    std::fs::write(root.path().join(".dockerignore"), "**/*.log\n.git\nnode_modules\n!keep.log\n").unwrap();
    for directory in 0..100 {
        let directory = root.path().join(format!("src/module{directory}"));
        std::fs::create_dir_all(&directory).unwrap();
        for file in 0..100 {
            std::fs::write(directory.join(format!("file{file}.rs")), format!("{file}").repeat(500)).unwrap();
        }
    }
    std::thread::sleep(Duration::from_millis(1100)); // until the files count as settled
    let cache = tempfile::tempdir().unwrap();
    let cache = cache.path().join("hashes");
    let scan = || {
        let begun = Instant::now();
        let context = Context::scan(root.path(), Path::new("Dockerfile"), Some(&cache)).unwrap();
        assert_eq!(context.size().0, 10_103);
        begun.elapsed()
    };
    let first = scan();
    let second = (0..5).map(|_| scan()).min().unwrap();
    eprintln!("10,000 files: {first:?}, unchanged {second:?}");
    assert!(second < Duration::from_secs(1), "{second:?}");
}
