//! `envctl port-forward`

use crate::config::Base;
use crate::flows::cluster::forward::ByApi;
use crate::flows::forward::{Ports, forward};
use crate::flows::local::forward::ByGateway;
use crate::flows::subject::{Subject, find};
use crate::ui::Failure;

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The Service or component
    to: String,
    /// Its ports; LOCAL is one of this machine [default: the same]
    #[arg(required = true, value_name = "[LOCAL:]PORT", value_parser = ports)]
    ports: Vec<Ports>,
}

fn ports(text: &str) -> Result<Ports, String> {
    let (local, remote) = text.split_once(':').unwrap_or((text, text));
    let local = if local.is_empty() { Ok(0) } else { local.parse() };
    match (local, remote.parse()) {
        (Ok(local), Ok(remote)) if remote != 0 => Ok(Ports { local, remote }),
        _ => Err("write PORT, LOCAL:PORT, or :PORT for any port of this machine that is free".to_owned()),
    }
}

pub(super) async fn run(base: &Base, arguments: Arguments) -> Result<(), Failure> {
    let Arguments { to, ports } = arguments;
    match find(base).await? {
        Subject::Cluster(within) => forward(&ByApi::to(*within), &to, &ports).await,
        Subject::Local(record) => forward(&ByGateway::to(base, *record).await?, &to, &ports).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_as_kubectl_has_them() {
        assert_eq!(ports("80"), Ok(Ports { local: 80, remote: 80 }));
        assert_eq!(ports("8080:80"), Ok(Ports { local: 8080, remote: 80 }));
        assert_eq!(ports(":80"), Ok(Ports { local: 0, remote: 80 }));
        assert!(ports("0").is_err() && ports("a:80").is_err() && ports("80:").is_err());
    }
}
