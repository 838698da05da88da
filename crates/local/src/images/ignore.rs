//! `.dockerignore`, as Docker reads it.
//!
//! Patterns are matched against the whole path and every parent of it; the last one that matches
//! decides; `!` takes back. The translation of a pattern follows moby's `patternmatcher`.

use std::fmt::Write as _;

use regex::Regex;

/// A `.dockerignore` pattern that Docker would refuse, too.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {pattern:?} is no pattern: {reason}")]
pub struct IgnoreError {
    /// The file.
    pub file: String,
    /// The line in it, from 1.
    pub line: usize,
    /// The pattern.
    pub pattern: String,
    /// Why.
    pub reason: String,
}

/// The patterns of a `.dockerignore`.
#[derive(Debug, Default)]
pub(super) struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    regex: Regex,
    negated: bool,
    /// The path elements before the first wildcard, for negated patterns: a directory that is
    /// excluded has to be looked into only if one of these leads into it.
    literal: String,
}

/// What the patterns say of a directory, to be asked about what is in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Verdict {
    matched: Vec<bool>,
    /// Whether the path is left out.
    pub(super) excluded: bool,
}

impl Ignore {
    /// Reads the content of a `.dockerignore` (`file` is for messages).
    pub(super) fn parse(file: &str, text: &str) -> Result<Self, IgnoreError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let error = |reason: &str| IgnoreError {
                file: file.to_owned(),
                line: number + 1,
                pattern: line.to_owned(),
                reason: reason.to_owned(),
            };
            let (negated, glob) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            if glob.is_empty() {
                return Err(error("nothing follows the `!`"));
            }
            let glob = clean(glob);
            let regex = Regex::new(&translate(&glob)).map_err(|_| error("the brackets do not match"))?;
            let literal = glob.split(['*', '?', '[', '\\']).next().unwrap_or_default();
            let literal = if literal.len() == glob.len() {
                glob.clone()
            } else {
                literal.rsplit_once('/').map_or("", |(directory, _)| directory).to_owned()
            };
            patterns.push(Pattern { regex, negated, literal });
        }
        Ok(Self { patterns })
    }

    /// Judges a path, given the judgement on the directory it is in.
    pub(super) fn judge(&self, path: &str, parent: &Verdict) -> Verdict {
        let mut verdict = Verdict { matched: Vec::with_capacity(self.patterns.len()), excluded: false };
        for (index, pattern) in self.patterns.iter().enumerate() {
            let matches =
                parent.matched.get(index).copied().unwrap_or_default() || pattern.regex.is_match(path);
            if matches {
                verdict.excluded = !pattern.negated;
            }
            verdict.matched.push(matches);
        }
        verdict
    }

    /// Whether something inside an excluded directory may have been taken back.
    pub(super) fn may_take_back_inside(&self, directory: &str) -> bool {
        self.patterns.iter().filter(|pattern| pattern.negated).any(|pattern| {
            pattern.literal.is_empty()
                || is_inside(&pattern.literal, directory)
                || is_inside(directory, &pattern.literal)
        })
    }
}

/// Whether `path` is `directory` or in it.
fn is_inside(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Go's `filepath.Clean`, and without the slash that some write in front.
fn clean(glob: &str) -> String {
    let mut elements: Vec<&str> = Vec::new();
    for element in glob.split('/') {
        match element {
            "" | "." => {}
            ".." if elements.last().is_some_and(|last| *last != "..") => drop(elements.pop()),
            // Above the root of the context there is nothing; a relative `..` never matches.
            ".." if glob.starts_with('/') => {}
            other => elements.push(other),
        }
    }
    if elements.is_empty() { ".".to_owned() } else { elements.join("/") }
}

fn translate(glob: &str) -> String {
    let mut regex = String::from("(?s)^");
    let mut chars = glob.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.peek() == Some(&'*') => {
                chars.next();
                if chars.peek() == Some(&'/') {
                    chars.next();
                }
                regex.push_str(if chars.peek().is_none() { ".*" } else { "(.*/)?" });
            }
            '*' => regex.push_str("[^/]*"),
            '?' => regex.push_str("[^/]"),
            '\\' => {
                let escaped = chars.next().unwrap_or('\\');
                regex.push_str(&regex::escape(escaped.encode_utf8(&mut [0; 4])));
            }
            // A class is the same in both languages.
            '[' | ']' => regex.push(c),
            '-' | '^' => regex.push(c),
            other => {
                let _ = write!(regex, "{}", regex::escape(other.encode_utf8(&mut [0; 4])));
            }
        }
    }
    regex.push('$');
    regex
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges a path with all its parents, as the walk does.
    fn excluded(patterns: &str, path: &str) -> bool {
        let ignore = Ignore::parse(".dockerignore", patterns).unwrap();
        let mut verdict = Verdict::default();
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            verdict = ignore.judge(&path[..end], &verdict);
        }
        verdict.excluded
    }

    /// Cases of moby's own tests of `patternmatcher` and `.dockerignore`.
    #[test]
    fn patterns_mean_what_they_mean_to_docker() {
        for (patterns, path, expected) in [
            ("**", "file", true),
            ("**/", "file", true),
            ("**", "dir/file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/file", true),
            ("dir/**", "dir/dir2/file", true),
            ("dir/**", "dir", false),
            ("**/dir", "dir", true),
            ("**/dir", "dir/file", true),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/**", "dir/dir2/dir2/file", true),
            ("**file", "file", true),
            ("**file", "dir/file", true),
            ("**/file", "dir/dir/file", true),
            ("**/file*", "dir/dir/file.txt", true),
            ("**/file*txt", "dir/dir/file.txt", true),
            ("**/**/*.txt", "dir/dir/file.txt", true),
            ("a**/*.txt", "a/file.txt", true),
            ("a**/*.txt", "a/dir/file.txt", true),
            ("a/*.txt", "a/dir/file.txt", false),
            ("a/*.txt", "a/file.txt", true),
            ("a/*.txt**", "a/file.txt", true),
            ("a[b-d]e", "ae", false),
            ("a[b-d]e", "ace", true),
            ("a[^b-d]e", "aze", true),
            (".*", ".foo", true),
            (".*", "foo", false),
            ("abc.def", "abcdef", false),
            ("abc.def", "abc.def", true),
            ("abc?def", "abcZdef", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("abc", "abc/def", true),
            ("/abc", "abc", true),
            ("./abc/", "abc/x", true),
            ("a/../b", "b", true),
            ("docs\n!docs/README.md", "docs/README.md", false),
            ("docs\n!docs/README.md", "docs/other.md", true),
            ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true),
            ("*.md\n!README*.md\nREADME-secret.md", "README-x.md", false),
            ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", false),
            ("*\n!src", "src/main.rs", false),
            ("*\n!src\nsrc/*.tmp", "src/x.tmp", true),
            ("# comment\n\n  x  ", "x", true),
            ("+a(b)|{c}", "+a(b)|{c}", true),
            ("a$b", "a$b", true),
        ] {
            assert_eq!(excluded(patterns, path), expected, "{patterns:?} on {path:?}");
        }
    }

    #[test]
    fn an_excluded_directory_is_entered_only_where_something_in_it_may_be_taken_back() {
        let ignore = Ignore::parse("", "node_modules\nbuild\n!build/keep/**").unwrap();
        assert!(!ignore.may_take_back_inside("node_modules"));
        assert!(ignore.may_take_back_inside("build"));
        assert!(ignore.may_take_back_inside("build/keep/deeper"));
        assert!(!ignore.may_take_back_inside("build/other"));
        assert!(Ignore::parse("", "x\n!**/y").unwrap().may_take_back_inside("x"));
    }

    #[test]
    fn a_pattern_docker_would_refuse_is_refused_with_its_line() {
        let error = Ignore::parse("app/.dockerignore", "a\n!\n").unwrap_err();
        assert_eq!(error.to_string(), "app/.dockerignore:2: \"!\" is no pattern: nothing follows the `!`");
        assert!(Ignore::parse("f", "a[").is_err());
    }
}
