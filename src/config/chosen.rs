//! Which environment a directory means: what `envctl use` chose.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use envctl_model::name::EnvironmentName;

use crate::ui::Failure;

/// The file in the state directory: environments by directory.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    file: PathBuf,
}

type Names = BTreeMap<PathBuf, EnvironmentName>;

impl Chosen {
    /// What is in the state directory.
    pub(super) fn within(state_dir: &Path) -> Self {
        Self { file: state_dir.join("chosen.json") }
    }

    /// What was chosen for a directory, or the nearest one above it for which something was.
    pub(crate) fn of(&self, dir: &Path) -> Result<Option<(PathBuf, EnvironmentName)>, Failure> {
        let names = self.read()?;
        let chosen = dir.ancestors().find_map(|dir| Some((dir.to_owned(), names.get(dir)?.clone())));
        Ok(chosen)
    }

    /// Chooses.
    pub(crate) fn choose(&self, dir: &Path, name: &EnvironmentName) -> Result<(), Failure> {
        let mut names = self.read()?;
        names.insert(dir.to_owned(), name.clone());
        self.write(&names)
    }

    /// Forgets what was chosen for a directory.
    pub(crate) fn forget(&self, dir: &Path) -> Result<(), Failure> {
        let mut names = self.read()?;
        if names.remove(dir).is_some() { self.write(&names) } else { Ok(()) }
    }

    fn read(&self) -> Result<Names, Failure> {
        match std::fs::read_to_string(&self.file) {
            Ok(text) => serde_json::from_str(&text).map_err(|e| {
                let file = self.file.display();
                Failure::Failed(format!("{file} is damaged: {e}\n  remove it: rm {file}"))
            }),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Names::new()),
            Err(e) => Err(Failure::Failed(format!(
                "cannot read {} of the state directory: {e}\n  say with {}=DIR where envctl may keep its records",
                self.file.display(),
                super::variables::STATE_DIR
            ))),
        }
    }

    fn write(&self, names: &Names) -> Result<(), Failure> {
        let failed =
            |e: std::io::Error| Failure::Failed(format!("cannot write {}: {e}", self.file.display()));
        let dir = self.file.parent().unwrap_or(Path::new("/"));
        envctl_programs::private::make_directory(dir).map_err(failed)?;
        let text = serde_json::to_vec_pretty(names).map_err(Failure::failed)?;
        envctl_programs::private::write(&self.file, &text).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_means_what_was_chosen_for_it_or_above() {
        let dir = tempfile::tempdir().unwrap();
        let chosen = Chosen::within(&dir.path().join("state"));
        let name = |text: &str| EnvironmentName::from_text(text).unwrap();
        assert!(chosen.of(Path::new("/a/b")).unwrap().is_none());
        chosen.choose(Path::new("/a"), &name("one")).unwrap();
        chosen.choose(Path::new("/a/b"), &name("two")).unwrap();
        assert_eq!(chosen.of(Path::new("/a/c")).unwrap().unwrap().1, name("one"));
        assert_eq!(chosen.of(Path::new("/a/b/c")).unwrap().unwrap().1, name("two"));
        chosen.forget(Path::new("/a/b")).unwrap();
        assert_eq!(chosen.of(Path::new("/a/b")).unwrap().unwrap(), (PathBuf::from("/a"), name("one")));
    }
}
