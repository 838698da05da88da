//! Which Dockerfile makes which image of the chart.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::found::words;
use super::study::ImageValues;

/// Words that do not say which image a Dockerfile makes.
const NAMELESS: [&str; 3] = ["docker", "build", "app"];

/// A Dockerfile and what it is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dockerfile {
    /// The file.
    pub(super) path: PathBuf,
    /// Its build context.
    pub(super) context: PathBuf,
    /// Whether a Compose file builds it.
    pub(super) in_compose: bool,
}

/// An image of the chart that is built here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Build {
    /// What the stack file calls it.
    pub(super) name: String,
    /// What it is built from.
    pub(super) dockerfile: Dockerfile,
    /// Its repository in the chart.
    pub(super) repository: String,
    /// The values that it comes from.
    pub(super) values: ImageValues,
}

/// What was matched and what was not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Matched {
    /// Images with their Dockerfiles.
    pub(super) builds: Vec<Build>,
    /// Dockerfiles that may be of any of several images, or of none.
    pub(super) left: Vec<Dockerfile>,
}

/// The Dockerfiles of a repository. `told` says the context of some, as a Compose file does.
pub(super) fn dockerfiles(
    dir: &Path,
    paths: &[PathBuf],
    told: &BTreeMap<PathBuf, PathBuf>,
) -> Vec<Dockerfile> {
    let one = |path: &PathBuf| {
        let told = told.get(path);
        let context = told.cloned().unwrap_or_else(|| context(dir, path));
        Dockerfile { path: path.clone(), context, in_compose: told.is_some() }
    };
    paths.iter().map(one).collect()
}

/// The nearest directory around a Dockerfile that has all that it copies.
fn context(dir: &Path, dockerfile: &Path) -> PathBuf {
    let text = std::fs::read_to_string(dir.join(dockerfile)).unwrap_or_default();
    let copied = copied(&text);
    let beside = dockerfile.parent().unwrap_or(Path::new(""));
    // Whoever copies all of a directory does not mean one that has nothing but Dockerfiles.
    let is_bare = |path: &Path| {
        let entries = std::fs::read_dir(dir.join(path)).into_iter().flatten().filter_map(Result::ok);
        entries.into_iter().all(|entry| entry.file_name().to_string_lossy().contains("Dockerfile"))
    };
    let has_all = |path: &Path| {
        copied.iter().all(|source| match source.as_str() {
            "" | "." => !is_bare(path),
            source => dir.join(path).join(source).exists(),
        })
    };
    beside.ancestors().find(|path| has_all(path)).unwrap_or(beside).to_owned()
}

/// What a Dockerfile copies from its context, up to the first wildcard.
fn copied(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let sources = joined.lines().filter_map(|line| {
        let (instruction, rest) = line.trim().split_once(char::is_whitespace)?;
        let copies = instruction.eq_ignore_ascii_case("copy") || instruction.eq_ignore_ascii_case("add");
        let from_elsewhere = rest.contains("--from=") || rest.contains("<<") || rest.contains("://");
        (copies && !from_elsewhere).then_some(())?;
        let words = rest.split(|c: char| c.is_whitespace() || "[],\"".contains(c));
        let mut words: Vec<_> = words.filter(|word| !word.is_empty() && !word.starts_with("--")).collect();
        words.pop();
        Some(words.into_iter().map(plain).collect::<Vec<_>>())
    });
    sources.flatten().collect()
}

/// A path of a context without slashes around it, up to the first part that is not plain.
fn plain(source: &str) -> String {
    let source = source.trim_start_matches("./").trim_matches('/');
    let parts = source.split('/').take_while(|part| !part.contains(['*', '?', '[', '$']));
    parts.collect::<Vec<_>>().join("/")
}

/// Matches Dockerfiles with images by the words in their names. One of each belong together; and what
/// nothing is said about means the image that is set highest in the values and used most.
pub(super) fn match_up(
    dockerfiles: Vec<Dockerfile>,
    images: &BTreeMap<String, ImageValues>,
    project: &str,
) -> Matched {
    let mut matched = Matched::default();
    let mut open: BTreeMap<&String, &ImageValues> = images.iter().collect();
    let only = dockerfiles.len() == 1;
    let mut unclear = Vec::new();
    for dockerfile in dockerfiles {
        let names = names_of(&dockerfile.path);
        let about: BTreeSet<String> = names.iter().flat_map(|name| words(name)).collect();
        let score =
            |repository: &str, image: &ImageValues| about.intersection(&words_of(repository, image)).count();
        let best =
            open.iter().map(|(repository, image)| score(repository, image)).max().filter(|best| *best > 0);
        let mut fit = open.iter().filter(|(repository, image)| Some(score(repository, image)) == best);
        match (fit.next(), fit.next()) {
            (Some((repository, image)), None) => {
                let (repository, image) = (*repository, *image);
                let name = names.first().map_or(project, String::as_str);
                matched.builds.push(build(name, dockerfile, repository, image));
                open.remove(repository);
            }
            _ => unclear.push(dockerfile),
        }
    }
    for dockerfile in unclear {
        let names = names_of(&dockerfile.path);
        let own: BTreeSet<String> = words(project).into_iter().collect();
        let is_own = |repository: &str, image: &ImageValues| !own.is_disjoint(&words_of(repository, image));
        let rank = |repository: &str, image: &ImageValues| {
            let depth = image.leaves().map(|leaf| leaf.depth()).min().unwrap_or(usize::MAX);
            (is_own(repository, image), std::cmp::Reverse(depth), image.uses.values().sum::<usize>())
        };
        let best = open.iter().map(|(repository, image)| rank(repository, image)).max();
        let mut fit = open.iter().filter(|(repository, image)| Some(rank(repository, image)) == best);
        // A Dockerfile in a directory of its own that no image is named after makes something else.
        let is_main = only || names.is_empty();
        match (fit.next(), fit.next()) {
            (Some((repository, image)), None) if is_main => {
                let (repository, image) = (*repository, *image);
                matched.builds.push(build(project, dockerfile, repository, image));
                open.remove(repository);
            }
            _ => matched.left.push(dockerfile),
        }
    }
    matched
}

fn build(name: &str, dockerfile: Dockerfile, repository: &str, image: &ImageValues) -> Build {
    let name = envctl_model::name::label(&name.to_lowercase(), 30);
    Build { name, dockerfile, repository: repository.to_owned(), values: image.clone() }
}

/// What a Dockerfile is called beside `Dockerfile`, and its directories from the inside out.
fn names_of(path: &Path) -> Vec<String> {
    let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let own = file.split('.').filter(|part| !["Dockerfile", "Containerfile"].contains(part));
    let around = path.parent().into_iter().flat_map(Path::ancestors);
    let around = around.filter_map(|dir| dir.file_name()?.to_str());
    own.chain(around)
        .filter(|name| !words(name).iter().any(|word| NAMELESS.contains(&word.as_str())))
        .map(str::to_owned)
        .collect()
}

/// The words that an image is known by: its repository's, its values', and those of who uses it.
fn words_of(repository: &str, image: &ImageValues) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = words(repository).into_iter().collect();
    all.extend(image.leaves().flat_map(|leaf| words(&leaf.to_string())));
    all.extend(image.uses.keys().flat_map(|component| words(component)));
    for word in ["image", "repository", "tag", "docker", "registry"] {
        all.remove(word);
    }
    all
}

impl ImageValues {
    /// All its values.
    pub(super) fn leaves(&self) -> impl Iterator<Item = &super::values::Leaf> {
        self.references.iter().chain(&self.repositories).chain(&self.tags).chain(&self.without_tag)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::values::leaf_at;
    use super::*;

    fn image(path: &str, users: &[&str]) -> ImageValues {
        ImageValues {
            repositories: vec![leaf_at(&json!(null), &format!("{path}.repository"))],
            uses: users.iter().map(|user| ((*user).to_owned(), 1)).collect(),
            ..ImageValues::default()
        }
    }

    fn matches(dockerfiles: &[&str], images: &[(&str, ImageValues)]) -> (Vec<String>, usize) {
        let dockerfiles = dockerfiles
            .iter()
            .map(|path| Dockerfile { path: path.into(), context: PathBuf::new(), in_compose: false })
            .collect();
        let images = images.iter().map(|(name, image)| ((*name).to_owned(), image.clone())).collect();
        let matched = match_up(dockerfiles, &images, "shop");
        let pairs = matched
            .builds
            .iter()
            .map(|build| format!("{} {} {}", build.name, build.dockerfile.path.display(), build.repository));
        (pairs.collect(), matched.left.len())
    }

    #[test]
    fn dockerfiles_are_matched_by_name_and_one_with_one() {
        let one = [("nginx", image("image", &["web"]))];
        assert_eq!(matches(&["Dockerfile"], &one), (vec!["shop Dockerfile nginx".to_owned()], 0));
        let two = [("x/web", image("web.image", &["web"])), ("x/jobs", image("worker.image", &["worker"]))];
        assert_eq!(
            matches(&["docker/web.Dockerfile", "worker/Dockerfile"], &two).0,
            ["web docker/web.Dockerfile x/web", "worker worker/Dockerfile x/jobs"]
        );
        // The root's makes what the stack is called after, or what is set highest.
        let own = [("x/shop", image("a.b.image", &["web"])), ("busybox", image("init.image", &[]))];
        assert_eq!(matches(&["Dockerfile"], &own).0, ["shop Dockerfile x/shop"]);
        assert_eq!(matches(&["docker/app/Dockerfile"], &own).0, ["shop docker/app/Dockerfile x/shop"]);
        let high = [("nginx", image("image", &["web"])), ("busybox", image("init.image", &[]))];
        assert_eq!(matches(&["Dockerfile"], &high).0, ["shop Dockerfile nginx"]);
    }

    #[test]
    fn what_is_unclear_is_left() {
        let two = [("x", image("a.image", &["a"])), ("y", image("b.image", &["b"]))];
        assert_eq!(matches(&["Dockerfile"], &two), (vec![], 1));
        let one = [("mysql", image("image", &["db"]))];
        assert_eq!(matches(&["Dockerfile", "tools/Dockerfile"], &one).1, 1);
        assert_eq!(matches(&["Dockerfile"], &[]), (vec![], 1));
    }

    #[test]
    fn the_context_has_all_that_is_copied() {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("docker/web/Dockerfile", "FROM x\nCOPY --chown=1 src/*.rs Cargo.toml ./\nCOPY --from=b /x /x\n"),
            ("src/main.rs", ""),
            ("Cargo.toml", ""),
            ("docker/all.Dockerfile", "FROM x\nCOPY . .\n"),
            ("web/Dockerfile", "FROM x\nADD [\"site\", \"/srv\"]\n"),
            ("web/site/index.html", ""),
            ("bare/Dockerfile", "FROM x\n"),
        ] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let of = |path: &str| context(dir.path(), Path::new(path)).display().to_string();
        assert_eq!(of("docker/web/Dockerfile"), "");
        assert_eq!(of("docker/all.Dockerfile"), "docker", "web/ is there, too");
        assert_eq!(of("web/Dockerfile"), "web");
        assert_eq!(of("bare/Dockerfile"), "bare");
    }
}
