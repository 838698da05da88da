//! A build context: exactly the files Docker would get, hashed.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::cache::{Cache, Stat};
use super::ignore::{Ignore, IgnoreError, Verdict};
use crate::digest::hex;

/// A build context that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The directory is missing.
    #[error("the build context {} is not a directory", .0.display())]
    NoContext(PathBuf),
    /// The Dockerfile is missing.
    #[error("there is no Dockerfile at {}", .0.display())]
    NoDockerfile(PathBuf),
    /// The Dockerfile is outside of the context.
    #[error("the Dockerfile {} is outside of the build context {}", .dockerfile.display(), .context.display())]
    DockerfileOutside {
        /// The Dockerfile.
        dockerfile: PathBuf,
        /// The context.
        context: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// A name that an archive for Docker cannot hold.
    #[error("the name of {} is not UTF-8", .0.display())]
    Name(PathBuf),
    /// A `.dockerignore` pattern is bad.
    #[error(transparent)]
    Ignore(#[from] IgnoreError),
    /// A file changed between hashing and sending.
    #[error("{} changed while the image was being built; run the same command again", .0.display())]
    Changed(PathBuf),
    /// The receiver of the archive went away.
    #[error("cannot send the build context: {0}")]
    Send(io::Error),
}

/// A build context as it was found.
#[derive(Debug)]
pub struct Context {
    root: PathBuf,
    dockerfile: String,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Relative to the context, with `/`.
    path: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Directory,
    File { executable: bool, stat: Stat, hash: String },
    Link { target: String },
}

impl Context {
    /// Reads the context in `root`: every file that `.dockerignore` (or `DOCKERFILE.dockerignore`)
    /// does not exclude, the Dockerfile and `.dockerignore` in any case. `dockerfile` is relative to
    /// the context. `cache` names a file of ours that makes the next time fast.
    ///
    /// Reads all changed files and so blocks for a while.
    ///
    /// # Errors
    /// When the context or the Dockerfile is missing, a file cannot be read, or a pattern is bad.
    pub fn scan(root: &Path, dockerfile: &Path, cache: Option<&Path>) -> Result<Self, ContextError> {
        if !root.is_dir() {
            return Err(ContextError::NoContext(root.to_owned()));
        }
        let dockerfile = relative(root, dockerfile)?;
        let (ignore_file, ignore) = read_ignore(root, &dockerfile)?;
        let mut walk =
            Walk { root, ignore, always: vec![dockerfile.clone(), ignore_file], found: Vec::new() };
        walk.directory("", &Verdict::default())?;
        let mut found = walk.found;
        found.sort_by(|a, b| a.path.cmp(&b.path));

        let known = cache.map(Cache::load).unwrap_or_default();
        let missed = hash(root, &mut found, &known)?;
        let context = Self {
            root: root.to_owned(),
            dockerfile,
            entries: found.into_iter().map(Found::entry).collect(),
        };
        if let Some(cache) = cache
            && (missed || known.len() != context.files().count())
        {
            Cache::store(cache, context.files());
        }
        Ok(context)
    }

    fn files(&self) -> impl Iterator<Item = (&str, Stat, &str)> {
        self.entries.iter().filter_map(|entry| match &entry.kind {
            Kind::File { stat, hash, .. } => Some((entry.path.as_str(), *stat, hash.as_str())),
            _ => None,
        })
    }

    /// The Dockerfile's path in the context.
    #[must_use]
    pub fn dockerfile(&self) -> &str {
        &self.dockerfile
    }

    /// Number of entries and of bytes that would be sent.
    #[must_use]
    pub fn size(&self) -> (usize, u64) {
        (self.entries.len(), self.files().map(|(_, stat, _)| stat.size()).sum())
    }

    /// Feeds everything the build can see of the context into a hash: names, contents, link targets
    /// and the executable bit. Not times, owners and other modes: they differ between checkouts of
    /// one commit.
    pub(super) fn hash_into(&self, hash: &mut Sha256) {
        // Lengths in front, so that no two lists of entries give the same bytes.
        let mut field = |tag: u8, path: &str, content: &str| {
            hash.update([tag]);
            hash.update((path.len() as u64).to_be_bytes());
            hash.update(path);
            hash.update((content.len() as u64).to_be_bytes());
            hash.update(content);
        };
        for Entry { path, kind } in &self.entries {
            match kind {
                Kind::Directory => field(b'd', path, ""),
                Kind::File { executable: false, hash, .. } => field(b'f', path, hash),
                Kind::File { executable: true, hash, .. } => field(b'x', path, hash),
                Kind::Link { target } => field(b'l', path, target),
            }
        }
    }

    /// Writes a tar archive of exactly what was hashed; times and owners are fixed.
    ///
    /// # Errors
    /// When a file is not any more what was hashed, or the receiver stops reading.
    pub fn write_tar(&self, writer: impl Write) -> Result<(), ContextError> {
        let mut archive = tar::Builder::new(writer);
        for Entry { path, kind } in &self.entries {
            let mut header = tar::Header::new_gnu();
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(0);
            match kind {
                Kind::Directory => {
                    header.set_entry_type(tar::EntryType::Directory);
                    header.set_mode(0o755);
                    archive
                        .append_data(&mut header, format!("{path}/"), io::empty())
                        .map_err(ContextError::Send)?;
                }
                Kind::Link { target } => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_mode(0o777);
                    archive.append_link(&mut header, path, target).map_err(ContextError::Send)?;
                }
                Kind::File { executable, stat, hash } => {
                    header.set_entry_type(tar::EntryType::Regular);
                    header.set_mode(if *executable { 0o755 } else { 0o644 });
                    header.set_size(stat.size());
                    let full = self.root.join(path);
                    let file = File::open(&full).map_err(|_| ContextError::Changed(full.clone()))?;
                    let mut checked = Checked { file: file.take(stat.size()), hash: Sha256::new(), read: 0 };
                    archive.append_data(&mut header, path, &mut checked).map_err(ContextError::Send)?;
                    if checked.read != stat.size() || hex(&checked.hash.finalize()) != *hash {
                        return Err(ContextError::Changed(full));
                    }
                }
            }
        }
        archive.into_inner().and_then(|mut writer| writer.flush()).map_err(ContextError::Send)
    }
}

/// Hashes what is read through it.
struct Checked {
    file: io::Take<File>,
    hash: Sha256,
    read: u64,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.read += count as u64;
        Ok(count)
    }
}

fn relative(root: &Path, dockerfile: &Path) -> Result<String, ContextError> {
    let full = root.join(dockerfile);
    if !full.is_file() {
        return Err(ContextError::NoDockerfile(full));
    }
    let outside =
        || ContextError::DockerfileOutside { dockerfile: dockerfile.to_owned(), context: root.to_owned() };
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| ContextError::Io { path, source }
    };
    // Its directory is resolved (`..`, links), its own name is not: the link is what is sent.
    let directory = full.parent().unwrap_or(root);
    let directory = directory.canonicalize().map_err(io(directory))?;
    let root = root.canonicalize().map_err(io(root))?;
    let directory = directory.strip_prefix(&root).map_err(|_| outside())?;
    let path = directory.join(full.file_name().unwrap_or_default());
    path.to_str().map(str::to_owned).ok_or(ContextError::Name(full))
}

fn read_ignore(root: &Path, dockerfile: &str) -> Result<(String, Ignore), ContextError> {
    for name in [format!("{dockerfile}.dockerignore"), ".dockerignore".to_owned()] {
        let path = root.join(&name);
        match fs::read_to_string(&path) {
            Ok(text) => return Ok((name, Ignore::parse(&path.display().to_string(), &text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ContextError::Io { path, source }),
        }
    }
    Ok((".dockerignore".to_owned(), Ignore::default()))
}

struct Found {
    path: String,
    what: What,
}

enum What {
    Directory,
    Link(String),
    File { executable: bool, stat: Stat, hash: Option<String> },
}

impl Found {
    fn entry(self) -> Entry {
        let kind = match self.what {
            What::Directory => Kind::Directory,
            What::Link(target) => Kind::Link { target },
            What::File { executable, stat, hash } => {
                Kind::File { executable, stat, hash: hash.unwrap_or_default() }
            }
        };
        Entry { path: self.path, kind }
    }
}

struct Walk<'a> {
    root: &'a Path,
    ignore: Ignore,
    always: Vec<String>,
    found: Vec<Found>,
}

impl Walk<'_> {
    fn directory(&mut self, directory: &str, verdict: &Verdict) -> Result<(), ContextError> {
        let full = self.root.join(directory);
        let io = |source| ContextError::Io { path: full.clone(), source };
        for entry in fs::read_dir(&full).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name();
            let name = name.to_str().ok_or_else(|| ContextError::Name(entry.path()))?;
            let path = if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
            self.entry(path, &entry, verdict)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: String, entry: &fs::DirEntry, parent: &Verdict) -> Result<(), ContextError> {
        let verdict = self.ignore.judge(&path, parent);
        let kept = !verdict.excluded || self.always.contains(&path);
        let kind = entry.file_type().map_err(|source| ContextError::Io { path: entry.path(), source })?;
        if kind.is_dir() {
            let leads_to_kept = self.always.iter().any(|always| always.starts_with(&format!("{path}/")));
            if verdict.excluded && !leads_to_kept && !self.ignore.may_take_back_inside(&path) {
                return Ok(());
            }
            let before = self.found.len();
            self.directory(&path, &verdict)?;
            // An excluded directory is there only for what in it is not.
            if kept || self.found.len() > before {
                self.found.push(Found { path, what: What::Directory });
            }
            return Ok(());
        }
        if !kept {
            return Ok(());
        }
        let io = |source| ContextError::Io { path: entry.path(), source };
        let what = if kind.is_symlink() {
            let target = fs::read_link(entry.path()).map_err(io)?;
            What::Link(target.to_str().ok_or_else(|| ContextError::Name(entry.path()))?.to_owned())
        } else if kind.is_file() {
            let metadata = entry.metadata().map_err(io)?;
            let executable = metadata.permissions().mode() & 0o111 != 0;
            What::File { executable, stat: Stat::of(&metadata), hash: None }
        } else {
            return Ok(()); // sockets, pipes and devices: Docker leaves them out, too
        };
        self.found.push(Found { path, what });
        Ok(())
    }
}

/// Fills in the hashes, from `known` or from the files, on all processors. Returns whether a file
/// had to be read.
fn hash(root: &Path, found: &mut [Found], known: &Cache) -> Result<bool, ContextError> {
    let mut wanted = Vec::new();
    for Found { path, what } in found {
        if let What::File { stat, hash, .. } = what {
            match known.get(path, stat) {
                Some(value) => *hash = Some(value.to_owned()),
                None => wanted.push((path, hash)),
            }
        }
    }
    if wanted.is_empty() {
        return Ok(false);
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // Interleaved rather than in blocks: big files tend to lie beside each other.
    let mut shares: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
    for (index, item) in wanted.into_iter().enumerate() {
        shares[index % threads].push(item);
    }
    std::thread::scope(|scope| {
        let workers: Vec<_> = shares
            .into_iter()
            .map(|share| {
                scope.spawn(move || {
                    for (path, hash) in share {
                        *hash = Some(file_hash(&root.join(path.as_str()))?);
                    }
                    Ok::<(), ContextError>(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    Ok(true)
}

fn file_hash(path: &Path) -> Result<String, ContextError> {
    let io = |source| ContextError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hash.finalize())),
            Ok(count) => hash.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(io(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, content) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    fn digest(root: &Path, cache: Option<&Path>) -> String {
        let context = Context::scan(root, Path::new("Dockerfile"), cache).unwrap();
        let mut hash = Sha256::new();
        context.hash_into(&mut hash);
        hex(&hash.finalize())
    }

    fn tar_of(context: &Context) -> BTreeMap<String, (u32, String)> {
        let mut bytes = Vec::new();
        context.write_tar(&mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            assert_eq!((entry.header().mtime().unwrap(), entry.header().uid().unwrap()), (0, 0));
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            if let Some(target) = entry.link_name().unwrap() {
                content = target.display().to_string();
            }
            (entry.path().unwrap().display().to_string(), (entry.header().mode().unwrap(), content))
        });
        entries.collect()
    }

    #[test]
    fn the_archive_holds_what_docker_would_get() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                ("docker/Dockerfile", "FROM scratch"),
                (".dockerignore", "**\n!src\nsrc/secret\n!deep/down/kept"),
                ("src/main", "run"),
                ("src/secret", "no"),
                ("deep/down/kept", "yes"),
                ("deep/down/not", "no"),
                ("other/file", "no"),
            ],
        );
        fs::set_permissions(root.path().join("src/main"), fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink("main", root.path().join("src/link")).unwrap();
        let context = Context::scan(root.path(), Path::new("./docker/Dockerfile"), None).unwrap();
        assert_eq!(context.dockerfile(), "docker/Dockerfile");
        let tar = tar_of(&context);
        let paths: Vec<_> = tar.keys().map(String::as_str).collect();
        let expected = [
            ".dockerignore",
            "deep/",
            "deep/down/",
            "deep/down/kept",
            "docker/",
            "docker/Dockerfile",
            "src/",
            "src/link",
            "src/main",
        ];
        assert_eq!(paths, expected);
        assert_eq!(tar["src/main"], (0o755, "run".to_owned()));
        assert_eq!(tar["src/link"].1, "main");
        assert_eq!(tar["docker/Dockerfile"].0, 0o644);
    }

    #[test]
    fn the_digest_follows_content_names_links_and_the_executable_bit_only() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        write(path, &[("Dockerfile", "FROM scratch"), ("a", "1"), ("b", "2")]);
        let first = digest(path, None);
        fs::set_permissions(path.join("a"), fs::Permissions::from_mode(0o600)).unwrap();
        write(path, &[("a", "1")]);
        assert_eq!(digest(path, None), first);
        fs::set_permissions(path.join("a"), fs::Permissions::from_mode(0o755)).unwrap();
        let executable = digest(path, None);
        assert_ne!(executable, first);
        fs::rename(path.join("a"), path.join("c")).unwrap();
        assert_ne!(digest(path, None), executable);
    }

    #[test]
    fn a_cache_changes_the_time_and_never_the_result() {
        let root = tempfile::tempdir().unwrap();
        let state = tempfile::tempdir().unwrap();
        let cache = state.path().join("hashes");
        write(root.path(), &[("Dockerfile", "FROM scratch"), ("a", "one"), ("new\nline", "x")]);
        let first = digest(root.path(), Some(&cache));
        assert_eq!(digest(root.path(), Some(&cache)), first);
        write(root.path(), &[("a", "two")]); // the same size, and perhaps the same tick
        let second = digest(root.path(), Some(&cache));
        assert_ne!(second, first);
        assert_eq!(digest(root.path(), None), second);
        fs::write(&cache, "damaged").unwrap();
        assert_eq!(digest(root.path(), Some(&cache)), second);
    }

    #[test]
    fn a_file_that_changed_after_hashing_is_not_sent() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), &[("Dockerfile", "FROM scratch"), ("a", "one")]);
        let context = Context::scan(root.path(), Path::new("Dockerfile"), None).unwrap();
        for content in ["two", "longer than before", ""] {
            write(root.path(), &[("a", content)]);
            let error = context.write_tar(io::sink()).unwrap_err();
            assert!(
                error
                    .to_string()
                    .ends_with("changed while the image was being built; run the same command again")
                    || matches!(error, ContextError::Send(_)),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let root = tempfile::tempdir().unwrap();
        let scan = |dockerfile: &str| {
            Context::scan(root.path(), Path::new(dockerfile), None).unwrap_err().to_string()
        };
        assert!(scan("Dockerfile").starts_with("there is no Dockerfile at "));
        let inside = root.path().join("context");
        write(root.path(), &[("Dockerfile", ""), ("context/x", "")]);
        let error = Context::scan(&inside, Path::new("../Dockerfile"), None).unwrap_err();
        assert!(error.to_string().contains("is outside of the build context"), "{error}");
        let error = Context::scan(&root.path().join("no"), Path::new("Dockerfile"), None).unwrap_err();
        assert!(error.to_string().ends_with("no is not a directory"), "{error}");
    }
}
