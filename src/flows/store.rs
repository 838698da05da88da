//! The state directory: one directory an environment, with its record, journal and Terraform state.
//!
//! ```text
//! STATE/environments/NAME/record.json      what is needed to see and destroy it without its sources
//!                         journal.jsonl    intents and outcomes
//!                         compose.json     what Compose was given (secrets inside: mode 0600)
//!                         render.json      what Helm rendered last (secrets inside: mode 0600)
//!                         findings.json    the parity report of the last `up`
//!                         backing.yaml     the backing services as they were resolved
//!                         terraform/       the root with its modules, its data and its state
//! STATE/clusters/CLUSTER/NAME/             likewise, for an environment in a cluster; its record is in the
//!                                          cluster too, and that one counts
//! STATE/rehearsals/NAME/                   a rehearsal at work, or one whose process died
//! STATE/cutovers/NAME/                     a cutover at work, or one that can still be gone back from
//! STATE/receipts/NAME.json                 what the last `down` proved
//! STATE/backing/PROJECT.json               a backing project that an environment had started
//! STATE/cache/                             digests of files in build contexts
//! STATE/chosen.json                        which environment a directory means (`envctl use`)
//! ```

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use envctl_local::backing::Before;
use envctl_model::Receipt;
use envctl_model::name::EnvironmentName;
use envctl_model::record::Record;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ui::Failure;

/// The state directory.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    root: PathBuf,
}

/// The directory of one environment.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    dir: PathBuf,
}

const RECORD: &str = "record.json";

/// An environment's name, and its record or why that cannot be read.
pub(crate) type Named = (String, Result<Record, Failure>);

impl Store {
    /// The state directory at `root`, which need not exist.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory of an environment, which need not exist.
    pub(crate) fn home(&self, name: &EnvironmentName) -> Home {
        Home { dir: self.root.join("environments").join(name.as_str()) }
    }

    /// The directory of an environment in a cluster, which need not exist.
    pub(crate) fn cluster_home(&self, cluster: &str, name: &EnvironmentName) -> Home {
        Home { dir: self.root.join("clusters").join(cluster).join(name.as_str()) }
    }

    /// The directories of a name in all clusters to which this machine has brought one.
    pub(crate) fn cluster_homes(&self, name: &EnvironmentName) -> Result<Vec<Home>, Failure> {
        let mut homes: Vec<_> = directories(&self.root.join("clusters"))?
            .into_iter()
            .map(|cluster| self.cluster_home(&cluster, name))
            .filter(Home::exists)
            .collect();
        homes.sort_by(|a, b| a.dir.cmp(&b.dir));
        Ok(homes)
    }

    /// The directories of all environments that this machine has brought to clusters.
    pub(crate) fn all_cluster_homes(&self) -> Result<Vec<Home>, Failure> {
        let root = self.root.join("clusters");
        let mut homes = Vec::new();
        for cluster in directories(&root)? {
            let dir = root.join(cluster);
            homes.extend(directories(&dir)?.into_iter().map(|name| Home { dir: dir.join(name) }));
        }
        Ok(homes)
    }

    /// The directory of long work of a kind, such as a rehearsal, which need not exist.
    pub(crate) fn held(&self, kind: &str, name: &str) -> Home {
        Home { dir: self.root.join(kind).join(name) }
    }

    /// The directories of all work of a kind that this machine knows.
    pub(crate) fn all_held(&self, kind: &str) -> Result<Vec<Home>, Failure> {
        let names = directories(&self.root.join(kind))?;
        Ok(names.into_iter().map(|name| self.held(kind, &name)).collect())
    }

    /// All records, by name, with those that cannot be read as errors.
    pub(crate) fn records(&self) -> Result<Vec<Named>, Failure> {
        let dir = self.root.join("environments");
        Ok(directories(&dir)?
            .into_iter()
            .filter_map(|name| {
                let record = Home { dir: dir.join(&name) }.record().transpose()?;
                Some((name, record))
            })
            .collect())
    }

    /// What was there of a backing project before an environment of this store had it started; `None`
    /// when none of them did.
    pub(crate) fn backing(&self, project: &str) -> Result<Option<Before>, Failure> {
        read_json(&self.backing_file(project))
    }

    /// Writes down that an environment of this store is about to have a backing project started.
    pub(crate) fn claim_backing(&self, project: &str, before: &Before) -> Result<(), Failure> {
        let file = self.backing_file(project);
        create_private(file.parent().unwrap_or(&self.root))?;
        write_json(&file, before)
    }

    /// Forgets a backing project that is gone.
    pub(crate) fn forget_backing(&self, project: &str) {
        // A claim on what is gone does no harm: the next start writes a new one.
        let _ = fs::remove_file(self.backing_file(project));
    }

    fn backing_file(&self, project: &str) -> PathBuf {
        self.root.join("backing").join(format!("{project}.json"))
    }

    /// Keeps a receipt after its environment is gone.
    pub(crate) fn save_receipt(&self, receipt: &Receipt) -> Result<(), Failure> {
        let dir = self.root.join("receipts");
        create_private(&dir)?;
        write_json(&dir.join(format!("{}.json", receipt.environment)), receipt)
    }

    /// The receipt of the last `down` of a name.
    pub(crate) fn receipt(&self, name: &EnvironmentName) -> Result<Option<Receipt>, Failure> {
        read_json(&self.root.join("receipts").join(format!("{name}.json")))
    }
}

impl Home {
    /// Creates the directory, readable by its owner only.
    pub(crate) fn create(&self) -> Result<(), Failure> {
        create_private(&self.dir)
    }

    /// Whether it exists.
    pub(crate) fn exists(&self) -> bool {
        self.dir.is_dir()
    }

    /// A file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The record, if there is one.
    pub(crate) fn record(&self) -> Result<Option<Record>, Failure> {
        let path = self.file(RECORD);
        let Some(text) = read(&path)? else { return Ok(None) };
        Record::parse(&text).map(Some).map_err(|e| Failure::Failed(format!("{}: {e}", path.display())))
    }

    /// Writes the record.
    pub(crate) fn save_record(&self, record: &Record) -> Result<(), Failure> {
        write_json(&self.file(RECORD), record)
    }

    /// Reads a JSON file of it, if it is there.
    pub(crate) fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Failure> {
        read_json(&self.file(name))
    }

    /// Writes a JSON file of it.
    pub(crate) fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), Failure> {
        write_json(&self.file(name), value)
    }

    /// Whether what is in it is of this environment. One of the same name may have lived here before,
    /// and have been removed from another machine.
    pub(crate) fn is_of(&self, identity: Option<&str>) -> Result<bool, Failure> {
        Ok(self.record()?.is_none_or(|record| Some(record.identity.as_str()) == identity))
    }

    /// Removes it with all that is in it: the record last, since it says whose the rest is.
    pub(crate) fn remove(&self) -> Result<(), Failure> {
        let removed = || {
            for entry in fs::read_dir(&self.dir)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    fs::remove_dir_all(entry.path())?;
                } else if entry.file_name() != RECORD {
                    fs::remove_file(entry.path())?;
                }
            }
            fs::remove_dir_all(&self.dir)
        };
        match removed() {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Failure::Failed(format!("cannot remove {}: {e}", self.dir.display())))
            }
            _ => Ok(()),
        }
    }
}

/// The names in a directory, sorted; none where there is no directory.
fn directories(dir: &Path) -> Result<Vec<String>, Failure> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Failure::Failed(format!("cannot read {}: {e}", dir.display()))),
    };
    let mut names: Vec<_> = entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

fn create_private(dir: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| {
        let help = match e.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                format!("\n  say with {}=DIR where envctl may write", crate::config::variables::STATE_DIR)
            }
            io::ErrorKind::StorageFull => {
                "\n  the disk is full: make room, then type the same command again".to_owned()
            }
            _ => String::new(),
        };
        Failure::Failed(format!("cannot create the state directory {}: {e}{help}", dir.display()))
    })
}

fn read(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Failure::Failed(format!(
            "cannot read {} of the state directory: {e}\n  say with {}=DIR where envctl may keep its records",
            path.display(),
            crate::config::variables::STATE_DIR
        ))),
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Failure> {
    read(path)?
        .map(|text| {
            serde_json::from_str(&text)
                .map_err(|e| Failure::Failed(format!("{} is damaged: {e}", path.display())))
        })
        .transpose()
}

/// Whole or not at all, synced, and readable by its owner only: secrets may be inside.
fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let written = serde_json::to_vec_pretty(value)
        .map_err(io::Error::other)
        .and_then(|bytes| envctl_local::compose::write_file(path, &bytes));
    written.map_err(|e| {
        let help = if e.kind() == io::ErrorKind::StorageFull {
            "\n  the disk is full: make room, then type the same command again"
        } else {
            ""
        };
        Failure::Failed(format!("cannot write {}: {e}{help}", path.display()))
    })
}
