//! What lies in a repository that a stack file can name. Nothing is started to find it.

use std::path::{Path, PathBuf};

use envctl_programs::terraform::Declared;
use serde_json::Value;

/// Directories with what others have written.
const VENDORED: [&str; 3] = ["node_modules", "vendor", "third_party"];
/// Directories of a chart whose YAML is not values.
const NOT_VALUES: [&str; 4] = ["templates", "charts", "crds", "ci"];
/// What directories with values files are called.
const PLACES: [&str; 5] = ["values", "environments", "environment", "envs", "env"];
/// Words that mean every target.
const EVERYWHERE: [&str; 7] = ["common", "base", "default", "defaults", "shared", "all", "global"];
/// Words that mean a developer's machine.
const HERE: [&str; 6] = ["local", "localhost", "laptop", "desktop", "compose", "docker"];
/// Words that mean where no environment of a developer's belongs.
const PRODUCTION: [&str; 4] = ["prod", "production", "prd", "live"];

/// What was found. Paths are relative to the repository, and sorted.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Charts that can be installed.
    pub(super) charts: Vec<Chart>,
    /// Values files that are no chart's defaults.
    pub(super) values: Vec<ValuesFile>,
    /// Root modules of Terraform.
    pub(super) roots: Vec<Root>,
    /// Dockerfiles.
    pub(super) dockerfiles: Vec<PathBuf>,
    /// Compose files.
    pub(super) compose: Vec<PathBuf>,
}

/// A chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chart {
    /// Its directory.
    pub(super) path: PathBuf,
    /// Its name.
    pub(super) name: String,
}

/// A values file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ValuesFile {
    /// The file.
    pub(super) path: PathBuf,
    /// Where it applies.
    pub(super) place: Place,
}

/// Where something applies, as its name says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// Everywhere.
    Everywhere,
    /// On a developer's machine.
    Here,
    /// In production.
    Production,
    /// Somewhere else: `dev`.
    Named(String),
}

/// A root module of Terraform.
#[derive(Debug)]
pub(super) struct Root {
    /// Its directory.
    pub(super) path: PathBuf,
    /// Where it applies.
    pub(super) place: Place,
    /// What its files say.
    pub(super) declared: Declared,
    /// Its variable files, relative to it.
    pub(super) var_files: Vec<PathBuf>,
}

/// Looks at all files that git would take.
pub(super) fn look(dir: &Path) -> Found {
    let walk = ignore::WalkBuilder::new(dir)
        .require_git(false)
        .filter_entry(|entry| !VENDORED.iter().any(|name| entry.file_name() == *name))
        .build();
    // What cannot be read is not found.
    let mut files: Vec<PathBuf> = walk
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file()))
        .filter_map(|entry| Some(entry.path().strip_prefix(dir).ok()?.to_owned()))
        .collect();
    files.sort();
    let chart_dirs: Vec<&Path> =
        files.iter().filter(|file| file.ends_with("Chart.yaml")).filter_map(|file| file.parent()).collect();
    // A chart inside of another one is a part of it.
    let outer = |path: &Path| !chart_dirs.iter().any(|other| path != *other && path.starts_with(other));
    let charts = chart_dirs.iter().filter(|path| outer(path)).filter_map(|path| chart(dir, path)).collect();
    let values = files.iter().filter_map(|file| values_file(dir, file, &chart_dirs)).collect();
    let dockerfiles = files.iter().filter(|file| is_dockerfile(file)).cloned().collect();
    let compose = files.iter().filter(|file| is_compose_file(file)).cloned().collect();
    Found { charts, values, roots: roots(dir, &files), dockerfiles, compose }
}

fn read(path: &Path) -> Option<Value> {
    serde_yaml::from_str(&std::fs::read_to_string(path).ok()?).ok()
}

/// A chart that can be installed: not a library.
fn chart(dir: &Path, path: &Path) -> Option<Chart> {
    let about = read(&dir.join(path).join("Chart.yaml"))?;
    (about["type"] != "library").then_some(())?;
    Some(Chart { path: path.to_owned(), name: about["name"].as_str()?.to_owned() })
}

impl Found {
    /// The values files that are meant for a chart: those beside or below it, else all; and none that lies
    /// in another chart.
    pub(super) fn values_of(&self, chart: &Chart) -> Vec<ValuesFile> {
        let in_other = |file: &ValuesFile| {
            self.charts.iter().any(|other| other != chart && file.path.starts_with(&other.path))
        };
        let open: Vec<_> = self.values.iter().filter(|file| !in_other(file)).cloned().collect();
        let around = chart.path.parent().unwrap_or(Path::new(""));
        let near: Vec<_> = open.iter().filter(|file| file.path.starts_with(around)).cloned().collect();
        if near.is_empty() { open } else { near }
    }
}

fn values_file(dir: &Path, file: &Path, charts: &[&Path]) -> Option<ValuesFile> {
    let extension = file.extension()?;
    (extension == "yaml" || extension == "yml").then_some(())?;
    let parent = file.parent()?;
    let is_default = charts.contains(&parent) && file.file_stem()? == "values";
    let of_chart = |part: &str| charts.iter().any(|chart| file.starts_with(chart.join(part)));
    if is_default || NOT_VALUES.iter().any(|part| of_chart(part)) {
        return None;
    }
    let stem = file.file_stem()?.to_str()?;
    let in_place = parent
        .iter()
        .filter_map(|part| part.to_str())
        .any(|part| words(part).iter().any(|word| PLACES.contains(&word.as_str())));
    if !(in_place || words(stem).iter().any(|word| word == "values")) {
        return None;
    }
    let content = read(&dir.join(file))?;
    // Manifests and Compose files may lie beside values.
    let is_values = content
        .as_object()
        .is_some_and(|map| !map.contains_key("apiVersion") && !map.contains_key("services"));
    is_values.then(|| ValuesFile { path: file.to_owned(), place: place_of(file, charts) })
}

/// Where a file applies: what its name says beside `values`, else what its directory is called.
fn place_of(file: &Path, charts: &[&Path]) -> Place {
    let named = |text: &str| {
        let words: Vec<_> = words(text).into_iter().filter(|word| !PLACES.contains(&word.as_str())).collect();
        (!words.is_empty()).then(|| place(&words))
    };
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let parent = file.parent().unwrap_or(Path::new(""));
    // `dev/values.yaml` is for dev, and `deploy/values.yaml` beside or above a chart for all.
    let is_above_chart = charts.iter().any(|chart| chart.starts_with(parent));
    let directory = parent.file_name().and_then(|name| name.to_str()).filter(|_| !is_above_chart);
    named(stem).or_else(|| named(directory?)).unwrap_or(Place::Everywhere)
}

fn place(words: &[String]) -> Place {
    let any = |known: &[&str]| words.iter().any(|word| known.contains(&word.as_str()));
    if any(&HERE) {
        Place::Here
    } else if any(&PRODUCTION) {
        Place::Production
    } else if any(&EVERYWHERE) {
        Place::Everywhere
    } else {
        Place::Named(words.join("-"))
    }
}

/// The words of a name, in small letters: `databaseHost` and `database_host` have the same.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before = None;
    for c in name.chars() {
        let begins = before.is_none_or(|before: char| {
            !before.is_alphanumeric() || (before.is_lowercase() && c.is_uppercase())
        });
        before = Some(c);
        if !c.is_alphanumeric() {
            continue;
        }
        let small = c.to_lowercase();
        match words.last_mut() {
            Some(word) if !begins => word.extend(small),
            _ => words.push(small.collect()),
        }
    }
    words
}

fn is_dockerfile(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_named = ["Dockerfile", "Containerfile"].iter().any(|word| {
        name == *word
            || name.strip_prefix(word).is_some_and(|rest| rest.starts_with('.'))
            || name.strip_suffix(word).is_some_and(|rest| rest.ends_with('.'))
    });
    is_named && !name.ends_with(".dockerignore")
}

fn is_compose_file(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"].contains(&name)
}

/// Directories that Terraform is started in: they configure a backend or a provider, and no other
/// module takes them for a part of its own.
fn roots(dir: &Path, files: &[PathBuf]) -> Vec<Root> {
    let mut dirs: Vec<&Path> = files
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "tf"))
        .filter_map(|file| file.parent())
        .collect();
    dirs.dedup();
    let modules: Vec<_> = dirs.iter().map(|path| (*path, Declared::read(&dir.join(path), []))).collect();
    let parts: Vec<PathBuf> = modules
        .iter()
        .flat_map(|(path, declared)| declared.modules().into_iter().map(|part| joined(path, &part)))
        .collect();
    let is_root =
        |path: &Path, declared: &Declared| declared.is_root() && !parts.iter().any(|part| part == path);
    let roots = modules.into_iter().filter(|(path, declared)| is_root(path, declared));
    roots
        .map(|(path, declared)| {
            let var_files = files.iter().filter(|file| file.extension().is_some_and(|end| end == "tfvars"));
            let var_files =
                var_files.filter_map(|file| Some(file.strip_prefix(path).ok()?.to_owned())).collect();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let words = words(name);
            let place = match place(&words) {
                Place::Named(_) => Place::Everywhere,
                place => place,
            };
            Root { path: path.to_owned(), place, declared, var_files }
        })
        .collect()
}

/// A path that was written in a directory, without `.` and `..`.
pub(super) fn joined(dir: &Path, written: &str) -> PathBuf {
    let mut path = dir.to_owned();
    for part in Path::new(written).components() {
        match part {
            std::path::Component::ParentDir => {
                path.pop();
            }
            std::path::Component::Normal(part) => path.push(part),
            _ => {}
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repository with these files.
    fn repository(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    fn shown<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Vec<String> {
        paths.into_iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn charts_are_found_without_their_parts_libraries_and_what_others_wrote() {
        let app = "name: shop";
        let dir = repository(&[
            ("deploy/shop/Chart.yaml", app),
            ("deploy/shop/charts/redis/Chart.yaml", "name: redis"),
            ("deploy/lib/Chart.yaml", "{name: lib, type: library}"),
            ("node_modules/x/Chart.yaml", app),
            ("built/Chart.yaml", app),
            (".gitignore", "built/"),
            ("Dockerfile", ""),
            ("docker/web.Dockerfile", ""),
            ("Dockerfile.dockerignore", ""),
            ("compose.yaml", "services: {}"),
            ("compose.test.yaml", "services: {}"),
        ]);
        let found = look(dir.path());
        assert_eq!(found.charts, [Chart { path: "deploy/shop".into(), name: "shop".into() }]);
        assert_eq!(shown(&found.dockerfiles), ["Dockerfile", "docker/web.Dockerfile"]);
        assert_eq!(shown(&found.compose), ["compose.yaml"]);
    }

    #[test]
    fn names_of_values_files_say_where_they_apply() {
        let places = [
            ("chart/values.yaml", None),
            ("chart/ci/test-values.yaml", None),
            ("chart/templates/values.yaml", None),
            ("chart/values-dev.yaml", Some(Place::Named("dev".into()))),
            ("chart/values.local.yaml", Some(Place::Here)),
            ("deploy/values/common.yaml", Some(Place::Everywhere)),
            ("deploy/values/production.yaml", Some(Place::Production)),
            ("deploy/staging/values.yaml", Some(Place::Named("staging".into()))),
            ("environments/dev-eu.yml", Some(Place::Named("dev-eu".into()))),
            ("values.yaml", Some(Place::Everywhere)),
            ("config/dev.yaml", None),
        ];
        let mut files: Vec<_> = places.iter().map(|(path, _)| (*path, "a: 1")).collect();
        files.push(("chart/Chart.yaml", "name: shop"));
        files.push(("deploy/values/job.yaml", "{apiVersion: batch/v1, kind: Job}"));
        let dir = repository(&files);
        let found = look(dir.path());
        for (path, place) in places {
            let file = found.values.iter().find(|file| file.path == Path::new(path));
            assert_eq!(file.map(|file| file.place.clone()), place, "{path}");
        }
        assert_eq!(found.values.len(), 7, "manifests are no values");
    }

    #[test]
    fn values_in_another_chart_are_that_chart_s() {
        let dir = repository(&[
            ("a/Chart.yaml", "name: a"),
            ("a/values-dev.yaml", "a: 1"),
            ("b/Chart.yaml", "name: b"),
            ("b/values-dev.yaml", "a: 1"),
            ("values-common.yaml", "a: 1"),
            ("deploy/c/Chart.yaml", "name: c"),
            ("deploy/values/c.yaml", "a: 1"),
            ("x/y/d/Chart.yaml", "name: d"),
        ]);
        let found = look(dir.path());
        let of = |chart: usize| {
            let files = found.values_of(&found.charts[chart]);
            shown(&files.into_iter().map(|file| file.path).collect::<Vec<_>>())
        };
        assert_eq!(of(0), ["a/values-dev.yaml", "deploy/values/c.yaml", "values-common.yaml"]);
        assert_eq!(of(2), ["deploy/values/c.yaml"], "what is near is meant");
        assert_eq!(of(3), ["deploy/values/c.yaml", "values-common.yaml"]);
    }

    #[test]
    fn roots_of_terraform_are_told_from_modules() {
        let dir = repository(&[
            (
                "tf/aws/main.tf",
                "terraform {\n backend \"s3\" {}\n}\nmodule \"db\" {\n source = \"../modules/db\"\n}\n",
            ),
            ("tf/aws/dev.tfvars", ""),
            ("tf/local/main.tf", "provider \"x\" {}\n"),
            ("tf/modules/db/main.tf", "provider \"x\" {}\n"),
            ("tf/modules/vpc/main.tf", "variable \"x\" {}\n"),
        ]);
        let roots = look(dir.path()).roots;
        let found: Vec<_> = roots.iter().map(|root| (root.path.clone(), root.place.clone())).collect();
        assert_eq!(found, [("tf/aws".into(), Place::Everywhere), ("tf/local".into(), Place::Here)]);
        assert_eq!(shown(&roots[0].var_files), ["dev.tfvars"]);
    }

    #[test]
    fn names_are_split_into_words() {
        assert_eq!(words("databaseHost"), ["database", "host"]);
        assert_eq!(words("values.dev_eu-1"), ["values", "dev", "eu", "1"]);
        assert_eq!(words("--"), [""; 0]);
    }
}
