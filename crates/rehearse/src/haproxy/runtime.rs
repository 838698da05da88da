//! HAProxy's runtime API: lines of text over TCP, as its management guide, section 9.3, has them.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer may take. HAProxy answers from memory.
const PATIENCE: Duration = Duration::from_secs(10);

/// A HAProxy that takes commands.
#[derive(Debug, Clone, Copy)]
pub struct Runtime {
    address: SocketAddr,
}

/// A command that had not its effect.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Nobody takes commands there.
    #[error("HAProxy takes no commands at {address}: {error}")]
    Io {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// It did not do it.
    #[error("HAProxy refuses `{command}`: {answer}")]
    Refused {
        /// What it was told.
        command: String,
        /// What it said.
        answer: String,
    },
    /// It answers what no version that is known does.
    #[error("HAProxy's answer to `{command}` has no `{missing}`")]
    Unreadable {
        /// What it was told.
        command: String,
        /// What is missing in its answer.
        missing: &'static str,
    },
}

/// Whether a server gets requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// As many as its weight says.
    Ready,
    /// Nothing new; what it has it may finish.
    Drain,
    /// Nothing.
    Maintenance,
}

impl Condition {
    fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maintenance => "maint",
        }
    }
}

/// A server as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: SocketAddr,
    /// 0 to 256.
    pub weight: u16,
    /// Whether it gets requests.
    pub condition: Condition,
}

/// What a server has had to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters {
    /// Its name.
    pub name: String,
    /// Requests that it has now.
    pub current: u64,
    /// Requests that it has had since HAProxy started.
    pub total: u64,
}

impl Runtime {
    /// The HAProxy whose `stats socket` is there.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// The servers of a backend.
    ///
    /// # Errors
    /// When HAProxy does not answer, or not so that it can be read.
    pub async fn servers(&self, backend: &str) -> Result<Vec<Server>, RuntimeError> {
        let command = format!("show servers state {backend}");
        let answer = self.ask(&command).await?;
        // The first line is the format's version.
        let table = Table::parse(&command, answer.lines().skip(1), char::is_whitespace)?;
        table.rows(|row| {
            // Bits of srv_admin_state, from that command's documentation: 1, 2 and 32 are for maintenance, 8 and 16
            // for draining; 4 only says that the configuration had it disabled.
            let admin = row.number("srv_admin_state")?;
            let condition = match (admin & 0x23, admin & 0x18) {
                (0, 0) => Condition::Ready,
                (0, _) => Condition::Drain,
                _ => Condition::Maintenance,
            };
            let ip = row.parsed("srv_addr")?;
            let address = SocketAddr::new(ip, row.parsed("srv_port")?);
            Ok(Server {
                name: row.text("srv_name")?.to_owned(),
                address,
                weight: row.parsed("srv_uweight")?,
                condition,
            })
        })
    }

    /// What the servers of a backend have had to do.
    ///
    /// # Errors
    /// When HAProxy does not answer, or not so that it can be read.
    pub async fn counters(&self, backend: &str) -> Result<Vec<Counters>, RuntimeError> {
        let answer = self.ask("show stat").await?;
        let table = Table::parse("show stat", answer.lines(), |c| c == ',')?;
        let rows = table.rows(|row| {
            // Type 2 is a server.
            let ours = row.text("pxname")? == backend && row.text("type")? == "2";
            let read = || {
                let (current, total) = (row.number("scur")?, row.number("stot")?);
                Ok(Counters { name: row.text("svname")?.to_owned(), current, total })
            };
            ours.then(read).transpose()
        })?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// Gives a server another weight, 0 to 256.
    ///
    /// # Errors
    /// When HAProxy does not answer or refuses.
    pub async fn set_weight(&self, backend: &str, server: &str, weight: u16) -> Result<(), RuntimeError> {
        self.tell(format!("set server {backend}/{server} weight {weight}")).await
    }

    /// Has a server get requests, or not.
    ///
    /// # Errors
    /// When HAProxy does not answer or refuses.
    pub async fn set_condition(
        &self,
        backend: &str,
        server: &str,
        condition: Condition,
    ) -> Result<(), RuntimeError> {
        self.tell(format!("set server {backend}/{server} state {}", condition.word())).await
    }

    /// Has a server be somewhere else. Connections that are there stay.
    ///
    /// # Errors
    /// When HAProxy does not answer or refuses.
    pub async fn set_address(&self, backend: &str, server: &str, to: SocketAddr) -> Result<(), RuntimeError> {
        let command = format!("set server {backend}/{server} addr {} port {}", to.ip(), to.port());
        let answer = self.ask(&command).await?;
        // This one says something also when all is well.
        let well = answer.contains("changed from") || answer.contains("no need to change");
        if well { Ok(()) } else { Err(refused(command, &answer)) }
    }

    async fn tell(&self, command: String) -> Result<(), RuntimeError> {
        let answer = self.ask(&command).await?;
        if answer.trim().is_empty() { Ok(()) } else { Err(refused(command, &answer)) }
    }

    /// One command on a connection of its own, which HAProxy closes after its answer.
    async fn ask(&self, command: &str) -> Result<String, RuntimeError> {
        let talk = async {
            let mut stream = TcpStream::connect(self.address).await?;
            stream.write_all(format!("{command}\n").as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok(answer)
        };
        let answer =
            tokio::time::timeout(PATIENCE, talk).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
        answer.map_err(|error| RuntimeError::Io { address: self.address, error })
    }
}

fn refused(command: String, answer: &str) -> RuntimeError {
    RuntimeError::Refused { command, answer: answer.trim().lines().next().unwrap_or("nothing").to_owned() }
}

/// A table whose first line, after `# `, names its columns.
struct Table<'a> {
    command: &'a str,
    columns: HashMap<&'a str, usize>,
    lines: Vec<Vec<&'a str>>,
}

impl<'a> Table<'a> {
    fn parse(
        command: &'a str,
        mut lines: impl Iterator<Item = &'a str>,
        between: impl Fn(char) -> bool + Copy,
    ) -> Result<Self, RuntimeError> {
        let missing = || RuntimeError::Unreadable { command: command.to_owned(), missing: "# " };
        let head = lines.next().and_then(|line| line.strip_prefix("# ")).ok_or_else(missing)?;
        let columns = head.split(between).enumerate().map(|(index, name)| (name, index)).collect();
        let lines = lines.filter(|line| !line.is_empty()).map(|line| line.split(between).collect()).collect();
        Ok(Self { command, columns, lines })
    }

    fn rows<T>(&self, read: impl Fn(Row<'_>) -> Result<T, RuntimeError>) -> Result<Vec<T>, RuntimeError> {
        self.lines.iter().map(|line| read(Row { table: self, line })).collect()
    }
}

#[derive(Clone, Copy)]
struct Row<'a> {
    table: &'a Table<'a>,
    line: &'a [&'a str],
}

impl<'a> Row<'a> {
    fn unreadable(&self, missing: &'static str) -> RuntimeError {
        RuntimeError::Unreadable { command: self.table.command.to_owned(), missing }
    }

    fn text(&self, column: &'static str) -> Result<&'a str, RuntimeError> {
        let value = self.table.columns.get(column).and_then(|index| self.line.get(*index));
        value.copied().ok_or_else(|| self.unreadable(column))
    }

    fn parsed<T: std::str::FromStr>(&self, column: &'static str) -> Result<T, RuntimeError> {
        self.text(column)?.parse().map_err(|_| self.unreadable(column))
    }

    fn number(&self, column: &'static str) -> Result<u64, RuntimeError> {
        self.parsed(column)
    }
}
