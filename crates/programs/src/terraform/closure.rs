//! All files that a Terraform root needs, and a copy of them that outlives the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use super::configuration;

/// What is never copied: Terraform's own data, states and logs, and what only looks like source.
fn is_foreign(name: &str) -> bool {
    is_terraforms(name)
        || (name.starts_with('.') && name != LOCK_FILE)
        || matches!(name, "node_modules" | "target")
}

/// What Terraform itself writes beside the configuration. In a copy it is never touched.
fn is_terraforms(name: &str) -> bool {
    (name.starts_with(".terraform") && name != LOCK_FILE)
        || name.ends_with(".tfstate")
        || name.contains(".tfstate.")
        || name == "terraform.tfstate.d"
        || name == "crash.log"
}

const LOCK_FILE: &str = ".terraform.lock.hcl";
const MARKER: &str = ".envctl-copy.json";

/// Why the files of a root cannot be gathered or copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClosureError {
    /// There is no such directory.
    #[error("{} is not a directory", .0.display())]
    NoRoot(PathBuf),
    /// A module that is named does not exist.
    #[error("module source \"{source_text}\" in {}: there is no directory {}", .file.display(), .directory.display())]
    NoModule {
        /// The file that names the module.
        file: PathBuf,
        /// What it says.
        source_text: String,
        /// Where that leads.
        directory: PathBuf,
    },
    /// The file system refused something.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

fn refused(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ClosureError {
    let path = path.to_owned();
    move |source| ClosureError::Io { doing, path, source }
}

/// A root module's files, those of the local modules it uses, and what they name outside of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closure {
    root: PathBuf,
    files: BTreeSet<PathBuf>,
    added: BTreeMap<String, String>,
}

impl Closure {
    /// Gathers the files of a root module. `extra` are files from elsewhere that belong to it,
    /// such as variable files.
    ///
    /// # Errors
    /// When the root or a module that is named does not exist, or cannot be read.
    pub fn of(root: &Path, extra: &[PathBuf]) -> Result<Self, ClosureError> {
        let root = std::path::absolute(root).map_err(refused("find", root))?;
        let root = normal(&root);
        if !root.is_dir() {
            return Err(ClosureError::NoRoot(root));
        }
        let mut files = BTreeSet::new();
        let mut modules = vec![root.clone()];
        let mut seen = BTreeSet::new();
        while let Some(module) = modules.pop() {
            if !seen.insert(module.clone()) {
                continue;
            }
            gather(&module, &mut files)?;
            for file in configuration_files(&module)? {
                let text = fs::read_to_string(&file).map_err(refused("read", &file))?;
                let references = configuration::references(&file, &text);
                for source_text in references.modules {
                    let directory = normal(&module.join(&source_text));
                    if !directory.is_dir() {
                        return Err(ClosureError::NoModule { file, source_text, directory });
                    }
                    modules.push(directory);
                }
                for path in references.outside {
                    let path = normal(&module.join(path));
                    // Naming a directory above means "from there", not "all of it".
                    if path.is_file() {
                        files.insert(path);
                    } else if path.is_dir() && !root.starts_with(&path) {
                        gather(&path, &mut files)?;
                    }
                }
            }
        }
        for file in extra {
            files.insert(normal(&std::path::absolute(file).map_err(refused("find", file))?));
        }
        Ok(Self { root, files, added: BTreeMap::new() })
    }

    /// Has every copy hold one more file in its root, which the sources do not have.
    pub fn add(&mut self, name: impl Into<String>, content: impl Into<String>) {
        self.added.insert(name.into(), content.into());
    }

    /// All files, sorted.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(PathBuf::as_path)
    }

    /// The deepest directory that holds all files and the root.
    fn base(&self) -> PathBuf {
        let mut base = self.root.clone();
        for file in &self.files {
            while !file.starts_with(&base) && base.pop() {}
        }
        base
    }

    /// Changes when the name or content of a file does: that which a copy of them would have.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn digest(&self) -> Result<String, ClosureError> {
        let base = self.base();
        let mut marker = Marker::new(&relative(&self.root, &base));
        for file in &self.files {
            let content = fs::read(file).map_err(refused("read", file))?;
            marker.files.insert(portable(&relative(file, &base)), hex(&Sha256::digest(&content)));
        }
        for (name, content) in &self.added {
            marker
                .files
                .insert(portable(&relative(&self.root, &base).join(name)), hex(&Sha256::digest(content)));
        }
        Ok(marker.digest())
    }

    /// Brings a copy up to date: writes what differs, removes what is no more, and leaves alone
    /// what Terraform wrote there, the state above all. The copy is for its owner only, because
    /// a state may hold passwords.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn archive_to(&self, dest: &Path) -> Result<Copy, ClosureError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(dest).map_err(refused("make", dest))?;
        let base = self.base();
        let root = relative(&self.root, &base);
        let former = Marker::read(dest)?.unwrap_or_else(|| Marker::new(&root));
        if former.root != portable(&root) {
            bring_along(&dest.join(&former.root), &dest.join(&root))?;
        }
        let mut marker = Marker::new(&root);
        for file in &self.files {
            let name = portable(&relative(file, &base));
            let content = fs::read(file).map_err(refused("read", file))?;
            let digest = hex(&Sha256::digest(&content));
            let copy = dest.join(&name);
            // Terraform adds checksums to the copied lock file; that alone makes no difference.
            let same = if name.ends_with(LOCK_FILE) {
                former.files.get(&name) == Some(&digest) && copy.is_file()
            } else {
                fs::read(&copy).is_ok_and(|copied| copied == content)
            };
            if !same {
                place(file, &copy)?;
            }
            marker.files.insert(name, digest);
        }
        for (name, content) in &self.added {
            let name = portable(&root.join(name));
            put(content.as_bytes(), &dest.join(&name))?;
            marker.files.insert(name, hex(&Sha256::digest(content)));
        }
        for stale in former.files.keys().filter(|name| !marker.files.contains_key(*name)) {
            let path = dest.join(stale);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(refused("remove", &path)(error));
                }
                _ => {}
            }
        }
        marker.write(dest)?;
        Ok(marker.copy(dest))
    }

    /// Where a file of the sources lies in a copy.
    #[must_use]
    pub fn place_of(&self, source: &Path, copy: &Copy) -> Option<PathBuf> {
        let source = normal(&std::path::absolute(source).ok()?);
        let inside = source.strip_prefix(self.base()).ok()?;
        self.files.contains(&source).then(|| copy.base.join(inside))
    }
}

/// A copy of a root with all it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// The directory that holds all of it.
    pub base: PathBuf,
    /// The root module in it.
    pub root: PathBuf,
    /// Changes when a file's name or content does.
    pub digest: String,
}

impl Copy {
    /// The copy that a former run left, even when its sources are gone.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn left_at(dest: &Path) -> Result<Option<Self>, ClosureError> {
        Ok(Marker::read(dest)?.map(|marker| marker.copy(dest)))
    }
}

/// What a copy says about itself.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Marker {
    root: String,
    files: BTreeMap<String, String>,
}

impl Marker {
    fn new(root: &Path) -> Self {
        Self { root: portable(root), files: BTreeMap::new() }
    }

    fn read(dest: &Path) -> Result<Option<Self>, ClosureError> {
        let path = dest.join(MARKER);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(refused("read", &path))?,
        };
        let marker = serde_json::from_slice(&bytes)
            .map_err(|error| refused("read", &path)(io::Error::other(error)))?;
        Ok(Some(marker))
    }

    fn write(&self, dest: &Path) -> Result<(), ClosureError> {
        let path = dest.join(MARKER);
        let bytes =
            serde_json::to_vec(self).map_err(|error| refused("write", &path)(io::Error::other(error)))?;
        put(&bytes, &path)
    }

    fn digest(&self) -> String {
        let mut digest = Sha256::new();
        digest.update(&self.root);
        for (name, content) in &self.files {
            digest.update(format!("\n{name} {content}"));
        }
        hex(&digest.finalize())
    }

    fn copy(&self, dest: &Path) -> Copy {
        Copy {
            base: dest.to_owned(),
            root: if self.root.is_empty() { dest.to_owned() } else { dest.join(&self.root) },
            digest: self.digest(),
        }
    }
}

/// Moves what Terraform wrote along when a new module shifts the root within its copy: a state
/// left behind would be a forgotten environment.
fn bring_along(from: &Path, to: &Path) -> Result<(), ClosureError> {
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(refused("read", from))?,
    };
    fs::create_dir_all(to).map_err(refused("make", to))?;
    for entry in entries {
        let entry = entry.map_err(refused("read", from))?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| is_terraforms(name) || name == LOCK_FILE) {
            let target = to.join(&name);
            fs::rename(entry.path(), &target).map_err(refused("move to", &target))?;
        }
    }
    Ok(())
}

fn gather(directory: &Path, files: &mut BTreeSet<PathBuf>) -> Result<(), ClosureError> {
    for entry in fs::read_dir(directory).map_err(refused("read", directory))? {
        let entry = entry.map_err(refused("read", directory))?;
        if entry.file_name().to_str().is_none_or(is_foreign) {
            continue;
        }
        let path = entry.path();
        let kind = entry.file_type().map_err(refused("look at", &path))?;
        // A link to a directory could lead in circles, so only linked files are followed.
        if kind.is_dir() {
            gather(&path, files)?;
        } else if path.is_file() {
            files.insert(path);
        }
    }
    Ok(())
}

fn configuration_files(module: &Path) -> Result<Vec<PathBuf>, ClosureError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(module).map_err(refused("read", module))? {
        let path = entry.map_err(refused("read", module))?.path();
        if path.is_file() && configuration::is_configuration(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn place(source: &Path, copy: &Path) -> Result<(), ClosureError> {
    let directory = copy.parent().unwrap_or(copy);
    fs::create_dir_all(directory).map_err(refused("make", directory))?;
    // Whole or not at all: a half-written copy could be all that is left when we crash here.
    let temporary = tempfile::NamedTempFile::new_in(directory).map_err(refused("write in", directory))?;
    fs::copy(source, temporary.path()).map_err(refused("copy", source))?;
    temporary.persist(copy).map_err(|error| refused("write", copy)(error.error))?;
    Ok(())
}

fn put(content: &[u8], path: &Path) -> Result<(), ClosureError> {
    crate::private::write(path, content).map_err(refused("write", path))
}

/// The path without `.` and `..`, by its words alone: what does not exist can be named too.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

fn relative(path: &Path, base: &Path) -> PathBuf {
    path.strip_prefix(base).unwrap_or(path).to_owned()
}

fn portable(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn names(closure: &Closure, base: &Path) -> Vec<String> {
        closure.files().map(|file| portable(&relative(file, base))).collect()
    }

    #[test]
    fn an_added_file_is_in_the_copys_root_alone_and_goes_when_it_is_no_more_added() {
        let dir = tempfile::tempdir().unwrap();
        let (live, copy) = (dir.path().join("tf/live"), dir.path().join("copy"));
        write(&live.join("main.tf"), "module \"a\" { source = \"../a\" }");
        write(&dir.path().join("tf/a/main.tf"), "");
        let plain = Closure::of(&live, &[]).unwrap();
        let mut closure = plain.clone();
        closure.add("x_override.tf.json", "{}");
        let with = closure.archive_to(&copy).unwrap();
        assert_eq!(fs::read_to_string(with.root.join("x_override.tf.json")).unwrap(), "{}");
        assert!(!live.join("x_override.tf.json").exists());
        let without = plain.archive_to(&copy).unwrap();
        assert!(!without.root.join("x_override.tf.json").exists() && without.digest != with.digest);
        // What a copy would be told by is known without making one.
        assert_eq!((closure.digest().unwrap(), plain.digest().unwrap()), (with.digest, without.digest));
    }

    #[test]
    fn modules_are_followed_and_states_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        write(&base.join("tf/live/main.tf"), "module \"a\" {\n source = \"../modules/a\" # here\n}\n");
        write(&base.join("tf/live/terraform.tfstate"), "{}");
        write(&base.join("tf/live/terraform.tfstate.d/x/terraform.tfstate"), "{}");
        write(&base.join("tf/live/.terraform/modules/m.tf"), "");
        write(&base.join("tf/live/.terraform.lock.hcl"), "lock");
        write(&base.join("tf/modules/a/main.tf"), "module \"b\" { source = \"../b\" }");
        write(&base.join("tf/modules/a/files/t.tpl"), "x");
        write(&base.join("tf/modules/b/main.tf.json"), r#"{"locals":{"f":"${path.module}/../../etc/motd"}}"#);
        write(&base.join("tf/etc/motd"), "hello");
        write(&base.join("tf/etc/other"), "no");
        write(&base.join("other/main.tf"), "");
        let closure = Closure::of(&base.join("tf/live"), &[]).unwrap();
        assert_eq!(
            names(&closure, base),
            [
                "tf/etc/motd",
                "tf/live/.terraform.lock.hcl",
                "tf/live/main.tf",
                "tf/modules/a/files/t.tpl",
                "tf/modules/a/main.tf",
                "tf/modules/b/main.tf.json"
            ]
        );
    }

    #[test]
    fn a_copy_follows_its_sources_and_keeps_the_state() {
        let dir = tempfile::tempdir().unwrap();
        let (src, dest) = (dir.path().join("src/live"), dir.path().join("dest"));
        write(&src.join("main.tf"), "# one");
        write(&src.join("old.tf"), "# old");
        let first = Closure::of(&src, &[]).unwrap().archive_to(&dest).unwrap();
        assert_eq!(first.root, dest);
        write(&dest.join("terraform.tfstate.d/x/terraform.tfstate"), "state");
        let again = Closure::of(&src, &[]).unwrap().archive_to(&dest).unwrap();
        assert_eq!(first, again);

        // A module beside the root moves the root one level down; its state goes with it.
        fs::remove_file(src.join("old.tf")).unwrap();
        write(&src.join("main.tf"), "module \"a\" { source = \"../a\" }");
        write(&dir.path().join("src/a/main.tf"), "# a");
        let second = Closure::of(&src, &[]).unwrap().archive_to(&dest).unwrap();
        assert_ne!(first.digest, second.digest);
        assert_eq!(second.root, dest.join("live"));
        assert!(second.root.join("terraform.tfstate.d/x/terraform.tfstate").exists());
        assert!(!dest.join("old.tf").exists() && !dest.join("main.tf").exists());
        assert!(dest.join("a/main.tf").exists());

        fs::remove_dir_all(dir.path().join("src")).unwrap();
        assert_eq!(Copy::left_at(&dest).unwrap(), Some(second));
    }

    #[test]
    fn a_missing_module_is_named() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("main.tf"), "module \"a\" { source = \"./gone\" }");
        let error = Closure::of(dir.path(), &[]).unwrap_err().to_string();
        assert!(error.contains("\"./gone\"") && error.contains("main.tf"), "{error}");
    }
}
