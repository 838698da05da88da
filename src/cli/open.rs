//! `envctl open`

use std::process::{Command, Stdio};

use crate::config::Base;
use crate::flows::subject::find;
use crate::ui::{Failure, print};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The host, by the beginning of its name [default: the only one]
    host: Option<String>,
    /// Only print the address
    #[arg(long)]
    print: bool,
}

pub(super) async fn run(base: &Base, arguments: &Arguments) -> Result<(), Failure> {
    let subject = find(base).await?;
    let record = subject.record();
    let url = choose(&record.urls, arguments.host.as_deref()).map_err(|why| {
        Failure::Usage(match record.urls.as_slice() {
            [] => format!("environment `{}` answers at no address: its chart has no Ingress", record.name),
            urls => format!("{why}\n  it answers at: {}", urls.join("  ")),
        })
    })?;
    print(url);
    if arguments.print {
        return Ok(());
    }
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(opener);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Where there is no browser, the address is what was asked for.
    let _ = command.status();
    Ok(())
}

fn choose<'a>(urls: &'a [String], host: Option<&str>) -> Result<&'a str, String> {
    // Ports of Services are for other programs than browsers.
    let urls: Vec<&'a str> = urls.iter().map(String::as_str).filter(|url| url.starts_with("http")).collect();
    let Some(host) = host else {
        return match urls.as_slice() {
            [one] => Ok(*one),
            _ => Err("say which host".to_owned()),
        };
    };
    let of = |url: &&str| url.split_once("://").is_some_and(|(_, rest)| rest.starts_with(host));
    let found: Vec<_> = urls.into_iter().filter(of).collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(format!("no host begins with `{host}`")),
        _ => Err(format!("several hosts begin with `{host}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_chosen_and_never_guessed() {
        let urls = [
            "http://web.a.localhost:8080".to_owned(),
            "http://admin.a.localhost:8080".to_owned(),
            "tcp://127.9.9.9:5432".to_owned(),
        ];
        assert_eq!(choose(&urls, Some("adm")), Ok(urls[1].as_str()));
        assert_eq!(choose(&[urls[0].clone(), urls[2].clone()], None), Ok(urls[0].as_str()));
        assert!(choose(&urls, None).is_err() && choose(&urls, Some("x")).is_err());
        assert!(choose(&urls, Some("")).unwrap_err().contains("several"));
    }
}
