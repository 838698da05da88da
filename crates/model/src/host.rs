//! Host names of one environment.

use crate::name::label;

/// Hosts below this domain are loopback by definition (RFC 6761).
pub const LOCAL_DOMAIN: &str = "localhost";

/// The longest label of a host name.
const LABEL_MAX: usize = 63;

/// Makes the host names of one environment, below the domain of its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    environment: String,
    domain: String,
}

impl Hosts {
    /// Those of an environment below a domain, which may begin with `*.`.
    pub fn new(environment: impl Into<String>, domain: impl Into<String>) -> Self {
        Self { environment: environment.into(), domain: domain.into() }
    }

    /// The host name of something: `web.album-aki.dev.example.com`; below `*.dev.example.com` it has one label
    /// for the star, since a wildcard certificate covers no more: `web-album-aki.dev.example.com`.
    #[must_use]
    pub fn of(&self, name: &str) -> String {
        let Self { environment, domain } = self;
        match domain.strip_prefix("*.") {
            Some(parent) => format!("{}.{parent}", label(&format!("{name}-{environment}"), LABEL_MAX)),
            None => format!("{name}.{environment}.{domain}"),
        }
    }
}

/// Whether host names can be made below this: labels of a-z, 0-9 and `-`, the first of them perhaps a star.
#[must_use]
pub fn is_domain(text: &str) -> bool {
    let labels = text.strip_prefix("*.").unwrap_or(text).split('.');
    let is_label = |label: &str| {
        let inside = label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        inside && (1..=LABEL_MAX).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    labels.into_iter().all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_has_one_label_for_its_star() {
        let of = |domain: &str, name: &str| Hosts::new("album-aki", domain).of(name);
        assert_eq!(of("dev.example.com", "web"), "web.album-aki.dev.example.com");
        assert_eq!(of("*.dev.example.com", "web"), "web-album-aki.dev.example.com");
        let long = Hosts::new("a".repeat(40), "*.dev.example.com").of(&"b".repeat(40));
        let label = long.strip_suffix(".dev.example.com").unwrap();
        assert!(label.len() <= 63 && !label.contains('.') && label.starts_with("bbb"), "{long}");
        assert_ne!(long, Hosts::new(format!("{}b", "a".repeat(39)), "*.dev.example.com").of(&"b".repeat(40)));
    }

    #[test]
    fn what_is_a_domain() {
        for domain in ["localhost", "dev.example.com", "*.dev.example.com", "127-0-0-1.example.com"] {
            assert!(is_domain(domain), "{domain}");
        }
        for wrong in
            ["", "*", "*.", ".example.com", "dev..com", "Dev.example.com", "a.*.com", "https://a", "a-.com"]
        {
            assert!(!is_domain(wrong), "{wrong}");
        }
    }
}
