//! Which of an environment's containers a word on the command line means.

/// All that may name a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Names<'a> {
    /// Its workload: `Deployment/api`.
    pub workload: Option<&'a str>,
    /// Its pod.
    pub pod: Option<&'a str>,
    /// Its Compose service.
    pub service: Option<&'a str>,
}

/// No container is meant by a word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// No such component.
    #[error("there is no component {name} in this environment; there are: {}", .known.join(", "))]
    Unknown {
        /// As asked.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// No such container in it.
    #[error("{component} has no container {container}; it has: {}", .known.join(", "))]
    NoContainer {
        /// The component.
        component: String,
        /// As asked.
        container: String,
        /// What there is.
        known: Vec<String>,
    },
    /// It does not run.
    #[error("no container of {component} is running; `envctl logs {component}` shows what it said last")]
    NotRunning {
        /// The component.
        component: String,
    },
}

impl<'a> Names<'a> {
    /// `api` of `Deployment/api`.
    #[must_use]
    pub fn component(&self) -> Option<&'a str> {
        self.workload.map(component)
    }

    /// Whether a word means it: its component, workload, pod or Compose service.
    #[must_use]
    pub fn are(&self, word: &str) -> bool {
        [self.workload, self.component(), self.pod, self.service].contains(&Some(word))
            || self.component().is_some_and(|component| has_release_in_front(component, word))
    }
}

/// `api` of `Deployment/api`.
#[must_use]
pub fn component(workload: &str) -> &str {
    workload.rsplit_once('/').map_or(workload, |(_, name)| name)
}

/// Whether a word means a workload.
#[must_use]
pub fn means(word: &str, workload: &str) -> bool {
    Names { workload: Some(workload), ..Names::default() }.are(word)
}

/// Charts put the release in front: `album-api` is the `api` of the release `album`.
fn has_release_in_front(component: &str, word: &str) -> bool {
    component.strip_suffix(word).is_some_and(|rest| rest.ends_with('-'))
}

/// Those of all candidates that a word means.
///
/// # Errors
/// [`SelectionError::Unknown`] when it means none, with the components that there are.
pub fn select<'c, T>(
    candidates: impl IntoIterator<Item = &'c T>,
    names: impl Fn(&T) -> Names<'_>,
    word: &str,
) -> Result<Vec<&'c T>, SelectionError> {
    let mut known = Vec::new();
    let mut chosen = Vec::new();
    for candidate in candidates {
        let theirs = names(candidate);
        if theirs.are(word) {
            chosen.push(candidate);
        }
        known.extend(theirs.component().map(str::to_owned));
    }
    if chosen.is_empty() {
        known.sort();
        known.dedup();
        return Err(SelectionError::Unknown { name: word.to_owned(), known });
    }
    Ok(chosen)
}

/// Those of a component's containers that have a name.
///
/// # Errors
/// [`SelectionError::NoContainer`] when none has, with the containers that there are.
pub fn named<T>(
    containers: Vec<T>,
    name: impl Fn(&T) -> Option<&str>,
    component: &str,
    wanted: &str,
) -> Result<Vec<T>, SelectionError> {
    if !containers.iter().any(|container| name(container) == Some(wanted)) {
        let mut known: Vec<_> = containers.iter().filter_map(|c| name(c).map(str::to_owned)).collect();
        known.sort();
        known.dedup();
        return Err(SelectionError::NoContainer {
            component: component.to_owned(),
            container: wanted.to_owned(),
            known,
        });
    }
    Ok(containers.into_iter().filter(|container| name(container) == Some(wanted)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_means_a_workload_by_any_of_its_names() {
        for word in ["api", "Deployment/shop-api", "shop-api"] {
            assert!(means(word, "Deployment/shop-api"), "{word}");
        }
        assert!(!means("pi", "Deployment/shop-api"));
        let all = ["Deployment/shop-api".to_owned(), "Deployment/worker".to_owned()];
        let found = select(&all, |w| Names { workload: Some(w), ..Names::default() }, "worker").unwrap();
        assert_eq!(found, [&all[1]]);
        let error = select(&all, |w| Names { workload: Some(w), ..Names::default() }, "web").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no component web in this environment; there are: shop-api, worker"
        );
    }
}
