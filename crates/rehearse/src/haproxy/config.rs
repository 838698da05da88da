//! HAProxy's configuration: written whole for a sandbox, and changed in its `server` lines for a new share.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use envctl_model::cutover::Side;

use super::share::{NoServer, weights};

/// The backend that has the servers of both sides.
pub const BACKEND: &str = "sides";

/// Where a server stands that has no address yet: nobody listens there, and it is disabled.
const NOWHERE: &str = "127.0.0.1:1";

/// What a sandbox's router is configured with.
///
/// Both sides are servers of one backend, and their weights make the share. So it is where production most often
/// has it, and one operation of the runtime API, which knows every HAProxy, changes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where it takes requests.
    pub bind: SocketAddr,
    /// Where it takes commands. Whoever reaches this can do with it what he wants.
    pub runtime: SocketAddr,
    /// Where it sends its log, by UDP.
    pub log: SocketAddr,
    /// The old side's servers, named `old1`, `old2`, ...
    pub old: Vec<SocketAddr>,
    /// The new side's servers that are there already, named `new1`, `new2`, ...
    pub new: Vec<SocketAddr>,
    /// How many servers the new side may ever have.
    pub slots: usize,
    /// The new side's part, 0 to 100.
    pub percent: u8,
    /// The limit of a request's body, in bytes. It is judged by `Content-Length`, which the load always sends.
    pub max_body: Option<u64>,
    /// After how long without a byte a connection is given up, on either side of the router.
    pub idle_timeout: Duration,
}

/// A line of the log: JSON, with what reconciling needs and the times of HAProxy's manual, section 8.4, in
/// milliseconds.
const LOG_FORMAT: &str = concat!(
    r#"{\"id\":\"%[var(txn.id),json(utf8s)]\",\"server\":\"%s\",\"status\":%ST,\"termination\":\"%ts\","#,
    r#"\"queue\":%Tw,\"connect\":%Tc,\"response\":%Tr,\"active\":%Ta}"#,
);

impl Config {
    /// The text of `haproxy.cfg`.
    ///
    /// # Errors
    /// When a side without a server is to get something.
    pub fn render(&self) -> Result<String, NoServer> {
        let Self { bind, runtime, log, .. } = self;
        let idle = self.idle_timeout.as_millis();
        let limit = self.max_body.map_or(String::new(), |bytes| {
            format!("    http-request deny deny_status 413 if {{ req.hdr_val(content-length) gt {bytes} }}\n")
        });
        let mut text = format!(
            "global
    stats socket ipv4@{runtime} level admin
    log {log} len 8192 format raw local0 info

defaults
    mode http
    log global
    option dontlognull
    # What a retry repairs, the rehearsal would not see.
    retries 0
    no option redispatch
    timeout connect 5s
    timeout client {idle}ms
    timeout server {idle}ms
    timeout http-request {idle}ms
    timeout http-keep-alive {idle}ms

frontend component
    bind {bind}
    option forwardfor
    http-request set-header X-Forwarded-Proto http unless {{ req.hdr(x-forwarded-proto) -m found }}
    http-request set-var(txn.id) req.hdr(x-request-id)
    log-format \"{LOG_FORMAT}\"
{limit}    default_backend {BACKEND}

backend {BACKEND}
    balance roundrobin
"
        );
        let [old, new] = weights(self.percent, self.old.len(), self.new.len())?;
        let empty = (self.new.len()..self.slots).map(|_| (NOWHERE.to_owned(), 0, true));
        let old = self.old.iter().zip(old).map(|(address, weight)| (address.to_string(), weight, false));
        let new = self
            .new
            .iter()
            .zip(new)
            .map(|(address, weight)| (address.to_string(), weight, false))
            .chain(empty);
        let named = |side: Side| move |number: usize| format!("{side}{}", number + 1);
        let (old, new) = (old.enumerate(), new.enumerate());
        let all = old
            .map(|(number, server)| (named(Side::Old)(number), server))
            .chain(new.map(|(number, server)| (named(Side::New)(number), server)));
        for (name, (address, weight, disabled)) in all {
            let line = ServerLine { name, address, weight, disabled, rest: Vec::new() };
            // Writing into a string cannot fail.
            let _ = writeln!(text, "    {line}");
        }
        Ok(text)
    }
}

/// Which side a server is of, by its name; none for another's server and for none.
#[must_use]
pub fn side_of(server: &str) -> Option<Side> {
    [Side::Old, Side::New].into_iter().find(|side| {
        let number = server.strip_prefix(side.as_str());
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

/// What a `server` line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerLine {
    /// The server's name.
    pub name: String,
    /// Address and port.
    pub address: String,
    /// 0 to 256; 1 if the line says nothing.
    pub weight: u16,
    /// It gets nothing, not even what has a weight.
    pub disabled: bool,
    /// All other words, in their order.
    pub rest: Vec<String>,
}

impl ServerLine {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split('#').next()?.split_whitespace();
        if words.next() != Some("server") {
            return None;
        }
        let (name, address) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut server = Self { name, address, weight: 1, disabled: false, rest: Vec::new() };
        while let Some(word) = words.next() {
            match word {
                "weight" => server.weight = words.next()?.parse().ok()?,
                "disabled" => server.disabled = true,
                "enabled" => server.disabled = false,
                other => server.rest.push(other.to_owned()),
            }
        }
        Some(server)
    }
}

impl std::fmt::Display for ServerLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "server {} {} weight {}", self.name, self.address, self.weight)?;
        self.rest.iter().try_for_each(|word| write!(f, " {word}"))?;
        f.write_str(if self.disabled { " disabled" } else { "" })
    }
}

/// The servers of a backend, as a configuration has them.
#[must_use]
pub fn servers(text: &str, backend: &str) -> Vec<ServerLine> {
    let mut found = Vec::new();
    each_server(text, backend, |server| found.push(server.clone()));
    found
}

/// A configuration whose servers of one backend were changed. Every other line is as it was.
#[must_use]
pub fn changed(text: &str, backend: &str, change: impl FnMut(&mut ServerLine)) -> String {
    each_server(text, backend, change)
}

fn each_server(text: &str, backend: &str, mut visit: impl FnMut(&mut ServerLine)) -> String {
    let (mut inside, mut written) = (false, String::with_capacity(text.len()));
    for line in text.split_inclusive('\n') {
        let mut words = line.split_whitespace();
        // Sections begin in the first column or not, but always with one of these words.
        match words.next() {
            Some("backend" | "listen") => inside = words.next() == Some(backend),
            Some("global" | "defaults" | "frontend" | "peers" | "resolvers" | "userlist" | "program") => {
                inside = false
            }
            _ => {}
        }
        match ServerLine::parse(line).filter(|_| inside) {
            None => written.push_str(line),
            Some(before) => {
                let mut server = before.clone();
                visit(&mut server);
                if server == before {
                    written.push_str(line);
                } else {
                    let indent = &line[..line.len() - line.trim_start().len()];
                    let _ = writeln!(written, "{indent}{server}");
                }
            }
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHERS: &str = "\
backend other
  server old1 10.0.0.1:80 weight 3
backend sides
  option httpchk
  server old1 10.0.0.2:80 weight 90 check inter 2s  # the first
  server old2 10.0.0.3:80
  server new1 10.0.0.4:80 weight 0 disabled
listen else
  server old1 10.0.0.5:80 weight 7
";

    #[test]
    fn only_the_servers_of_one_backend_are_read_and_changed() {
        let read = servers(OTHERS, "sides");
        let told = |one: &ServerLine| (one.name.clone(), one.weight, one.disabled);
        let all: Vec<_> = read.iter().map(told).collect();
        let expected = [("old1", 90, false), ("old2", 1, false), ("new1", 0, true)];
        assert_eq!(all, expected.map(|(name, weight, disabled)| (name.to_owned(), weight, disabled)));
        let text = changed(OTHERS, "sides", |one| {
            if one.name != "old2" {
                one.weight = 50;
                one.disabled = false;
            }
        });
        let expected = OTHERS
            .replace(
                "server old1 10.0.0.2:80 weight 90 check inter 2s  # the first",
                "server old1 10.0.0.2:80 weight 50 check inter 2s",
            )
            .replace("server new1 10.0.0.4:80 weight 0 disabled", "server new1 10.0.0.4:80 weight 50");
        assert_eq!(text, expected);
    }

    #[test]
    fn a_server_is_of_the_side_that_its_name_says() {
        assert_eq!(side_of("old12"), Some(Side::Old));
        assert_eq!(side_of("new1"), Some(Side::New));
        assert_eq!((side_of("older"), side_of("new"), side_of("<NOSRV>")), (None, None, None));
    }
}
