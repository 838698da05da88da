//! The pod's resolv.conf. Docker's own resolver answers container names before it asks anybody,
//! so the file is written after Docker has made it.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;

use anyhow::Context;
use envctl_wire::Resolv;

const PATH: &str = "/etc/resolv.conf";

/// Overwrites the file. Its inode stays, since the pod's containers have it mounted.
pub(crate) fn write(resolv: &Resolv) -> anyhow::Result<()> {
    OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(PATH)
        .and_then(|mut file| file.write_all(render(resolv).as_bytes()))
        .with_context(|| format!("cannot write {PATH}"))
}

fn render(resolv: &Resolv) -> String {
    let mut text = String::new();
    for nameserver in &resolv.nameservers {
        let _ = writeln!(text, "nameserver {nameserver}");
    }
    for (key, values) in [("search", &resolv.search), ("options", &resolv.options)] {
        if !values.is_empty() {
            let _ = writeln!(text, "{key} {}", values.join(" "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_as_the_kubelet_does() {
        let resolv = Resolv {
            nameservers: vec![[10, 96, 0, 10].into()],
            search: vec!["shop.svc.cluster.local".to_owned(), "svc.cluster.local".to_owned()],
            options: vec!["ndots:5".to_owned()],
        };
        assert_eq!(
            render(&resolv),
            "nameserver 10.96.0.10\nsearch shop.svc.cluster.local svc.cluster.local\noptions ndots:5\n"
        );
    }
}
