//! Starting one program and seeing it through.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::capture::{Lines, Tail};
use super::children::{Child, Children, Unwatched, signal_group, start_time};
use super::error::{Ended, Failure, ProgramError};
use super::signals::{Signals, Urgency};

/// Who watches over the programs that are started: the journal that hears of them, and the
/// signals that end them.
#[derive(Debug, Clone)]
pub struct Supervisor {
    /// What can interrupt the programs.
    pub signals: Signals,
    /// Who is told of every start and end.
    pub children: Arc<dyn Children>,
}

impl Default for Supervisor {
    /// For programs that change nothing: no one is told, and nothing interrupts.
    fn default() -> Self {
        Self { signals: Signals::none(), children: Arc::new(Unwatched) }
    }
}

/// Where a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output, and what was written to a log file.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a program reads.
#[derive(Debug, Default)]
pub enum Input {
    /// Nothing: programs must never wait for a terminal that they cannot see.
    #[default]
    Nothing,
    /// These bytes.
    Bytes(bytes::Bytes),
    /// This file, without a copy in memory.
    File(File),
}

/// What a program that succeeded left.
#[derive(Debug)]
pub struct Output {
    /// Its exit code, one of those that [`Command::accept`] names.
    pub code: i32,
    /// What it wrote to stdout; only the tail, unless [`Command::whole_stdout`] asked for all.
    pub stdout: Vec<u8>,
    /// The tail of what it wrote to stderr.
    pub stderr: String,
    /// How long it ran.
    pub duration: Duration,
}

impl Output {
    /// Its stdout as text.
    #[must_use]
    pub fn stdout_text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }
}

/// Tails are this long: enough for any error message.
const TAIL: usize = 1 << 20;
/// What is read whole may be this long. The largest public charts render to a few MiB.
const WHOLE: usize = 512 << 20;
/// How long a grandchild may hold our pipes open after the program itself has ended.
const DRAIN: Duration = Duration::from_secs(2);
/// How often a log file is looked at for new lines.
const FOLLOW: Duration = Duration::from_millis(40);
/// Arguments longer than this are shortened in messages.
const SHOWN_ARGUMENT: usize = 200;

#[derive(Debug)]
struct Argument {
    value: OsString,
    secret: bool,
}

/// A program to start.
#[derive(Debug)]
pub struct Command {
    program: PathBuf,
    arguments: Vec<Argument>,
    directory: Option<PathBuf>,
    env: BTreeMap<OsString, Option<OsString>>,
    input: Input,
    log: Option<PathBuf>,
    accepted: Vec<i32>,
    whole_stdout: bool,
    how_to_get: String,
}

impl Command {
    /// A program by its path, or by its name on PATH.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            directory: None,
            env: BTreeMap::new(),
            input: Input::Nothing,
            log: None,
            accepted: vec![0],
            whole_stdout: false,
            how_to_get: "install it with your system's package manager".into(),
        }
    }

    /// One argument more.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(Argument { value: argument.into(), secret: false });
        self
    }

    /// An argument that no message shows. Other users of the machine can still see it in the
    /// process list: an environment variable, a file or stdin is the better way.
    #[must_use]
    pub fn secret_arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(Argument { value: argument.into(), secret: true });
        self
    }

    /// Several arguments more.
    #[must_use]
    pub fn args<A: Into<OsString>>(self, arguments: impl IntoIterator<Item = A>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// The directory to run in.
    #[must_use]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Sets an environment variable. All others are inherited.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), Some(value.into()));
        self
    }

    /// Removes an inherited environment variable.
    #[must_use]
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), None);
        self
    }

    /// Sets several environment variables.
    #[must_use]
    pub fn envs<N: Into<OsString>, V: Into<OsString>>(
        self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        variables.into_iter().fold(self, |command, (name, value)| command.env(name, value))
    }

    /// What the program reads from stdin.
    #[must_use]
    pub fn input(mut self, input: Input) -> Self {
        self.input = input;
        self
    }

    /// Has the program write to this file (made anew, readable by its owner only) instead of to
    /// pipes; lines are read from there.
    ///
    /// A pipe breaks when envctl is killed, and the next line the program writes kills it too,
    /// perhaps between making a thing and noting that it did. A file lets it end in peace.
    #[must_use]
    pub fn log_to(mut self, file: impl Into<PathBuf>) -> Self {
        self.log = Some(file.into());
        self
    }

    /// The exit codes that are no failure, instead of 0 alone.
    #[must_use]
    pub fn accept(mut self, codes: impl Into<Vec<i32>>) -> Self {
        self.accepted = codes.into();
        self
    }

    /// Keeps all of stdout, because it will be parsed.
    #[must_use]
    pub fn whole_stdout(mut self) -> Self {
        self.whole_stdout = true;
        self
    }

    /// What a user without the program is told.
    #[must_use]
    pub fn how_to_get(mut self, how: impl Into<String>) -> Self {
        self.how_to_get = how.into();
        self
    }

    /// The program's name.
    #[must_use]
    pub fn name(&self) -> String {
        self.program.file_name().unwrap_or(self.program.as_os_str()).to_string_lossy().into_owned()
    }

    /// The arguments for messages: without secrets, and not too long.
    #[must_use]
    pub fn arguments(&self) -> String {
        let shown: Vec<String> = self.arguments.iter().map(Argument::shown).collect();
        shown.join(" ")
    }

    /// Runs the program to its end.
    ///
    /// # Errors
    /// All of [`ProgramError`] but [`ProgramError::VersionTooOld`]. A supervisor whose signals
    /// were requested already starts nothing.
    pub async fn run(self, supervisor: &Supervisor) -> Result<Output, ProgramError> {
        self.run_with_lines(supervisor, |_, _| ()).await
    }

    /// Runs the program to its end and hands over each line when it is written.
    ///
    /// # Errors
    /// As [`Command::run`].
    pub async fn run_with_lines(
        mut self,
        supervisor: &Supervisor,
        mut line: impl FnMut(Stream, &str),
    ) -> Result<Output, ProgramError> {
        if supervisor.signals.requested() > 0 {
            return Err(ProgramError::Interrupted { program: self.name(), killed: false });
        }
        let started = Instant::now();
        let mut running = self.start(supervisor).await?;
        let mut stdout = Kept::new(if self.whole_stdout { WHOLE } else { TAIL });
        let mut stderr = Kept::new(TAIL);
        let mut signals = supervisor.signals.clone();
        let mut requests = 0;
        let mut killed = false;
        let mut take = |(stream, chunk): (Stream, Vec<u8>)| match stream {
            Stream::Stdout => stdout.push(&chunk, |text| line(stream, text)),
            Stream::Stderr => stderr.push(&chunk, |text| line(stream, text)),
        };
        let mut open = true;
        let status = loop {
            tokio::select! {
                chunk = running.chunks.recv(), if open => match chunk {
                    Some(chunk) => take(chunk),
                    None => open = false,
                },
                status = running.process.wait() => break status,
                urgency = signals.next(&mut requests) => {
                    killed |= urgency == Urgency::Kill;
                    signal_group(running.child.pid, urgency).map_err(ProgramError::io(format!("signal {}", self.name())))?;
                }
            }
        };
        let status = status.map_err(ProgramError::io(format!("wait for {}", self.name())))?;
        running.ended();
        let deadline = tokio::time::Instant::now() + DRAIN;
        while let Ok(Some(chunk)) = tokio::time::timeout_at(deadline, running.chunks.recv()).await {
            take(chunk);
        }
        drop(running);
        stdout.finish(|text| line(Stream::Stdout, text));
        stderr.finish(|text| line(Stream::Stderr, text));
        self.judge(status, requests > 0, killed, stdout, stderr, started.elapsed())
    }

    fn judge(
        &self,
        status: ExitStatus,
        interrupted: bool,
        killed: bool,
        stdout: Kept,
        stderr: Kept,
        duration: Duration,
    ) -> Result<Output, ProgramError> {
        let stderr = String::from_utf8_lossy(&stderr.tail.finish().0).into_owned();
        let (stdout, dropped) = stdout.tail.finish();
        if let Some(code) = status.code().filter(|code| self.accepted.contains(code)) {
            if self.whole_stdout && dropped > 0 {
                return Err(ProgramError::Unreadable {
                    program: self.name(),
                    arguments: self.arguments(),
                    reason: format!("it is longer than {} MiB", WHOLE >> 20),
                });
            }
            return Ok(Output { code, stdout, stderr, duration });
        }
        if interrupted {
            return Err(ProgramError::Interrupted { program: self.name(), killed });
        }
        let ended = match (status.code(), status.signal()) {
            (Some(code), _) => Ended::Code(code),
            (None, signal) => Ended::Signal(signal.unwrap_or_default()),
        };
        // Some programs explain themselves on stdout.
        let message =
            if stderr.trim().is_empty() { String::from_utf8_lossy(&stdout).into_owned() } else { stderr };
        Err(ProgramError::Failed(Box::new(Failure {
            program: self.name(),
            arguments: self.arguments(),
            ended,
            message,
        })))
    }

    async fn start(&mut self, supervisor: &Supervisor) -> Result<Running, ProgramError> {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(self.arguments.iter().map(|argument| &argument.value)).process_group(0);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut bytes = None;
        command.stdin(match std::mem::take(&mut self.input) {
            Input::Nothing => Stdio::null(),
            Input::File(file) => Stdio::from(file),
            Input::Bytes(input) => {
                bytes = Some(input);
                Stdio::piped()
            }
        });
        if let Some(log) = &self.log {
            let doing = || ProgramError::io(format!("write {}", log.display()));
            let file = open_log(log).map_err(doing())?;
            command.stderr(file.try_clone().map_err(doing())?).stdout(file);
        } else {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        let mut process = command.spawn().map_err(|error| self.cannot_start(error))?;
        let pid = process.id().unwrap_or_default();
        let child = Child { pid, started: start_time(pid).unwrap_or_default(), program: self.name() };

        let (sender, chunks) = mpsc::channel(64);
        let (exited, has_exited) = watch::channel(false);
        let mut tasks = Vec::new();
        if let (Some(bytes), Some(mut stdin)) = (bytes, process.stdin.take()) {
            // A program that does not read all of its input has its reasons, and says them.
            tasks.push(tokio::spawn(async move {
                let _ = stdin.write_all(&bytes).await;
            }));
        }
        if let Some(stdout) = process.stdout.take() {
            tasks.push(tokio::spawn(pump(stdout, Stream::Stdout, sender.clone())));
        }
        if let Some(stderr) = process.stderr.take() {
            tasks.push(tokio::spawn(pump(stderr, Stream::Stderr, sender.clone())));
        }
        if let Some(log) = self.log.clone() {
            tasks.push(tokio::spawn(follow(log, has_exited, sender)));
        }
        let children = supervisor.children.clone();
        let mut running = Running { process, child, chunks, exited, tasks, children, over: false };
        if let Err(error) = running.children.started(&running.child) {
            let _ = signal_group(pid, Urgency::Interrupt);
            let _ = running.process.wait().await;
            running.ended();
            let doing = format!("note down that {} was started, so it was ended", self.name());
            return Err(ProgramError::io(doing)(error));
        }
        Ok(running)
    }

    fn cannot_start(&self, error: io::Error) -> ProgramError {
        // The same error means a missing program and a missing directory.
        if let Some(directory) = self.directory.as_deref().filter(|path| !path.is_dir()) {
            return ProgramError::io(format!("run {} in {}", self.name(), directory.display()))(error);
        }
        let missing = error.kind() == io::ErrorKind::NotFound && !self.program.exists();
        if missing {
            return ProgramError::NotFound {
                program: self.program.display().to_string(),
                how_to_get: self.how_to_get.clone(),
            };
        }
        ProgramError::io(format!("start {}", self.program.display()))(error)
    }
}

impl Argument {
    fn shown(&self) -> String {
        if self.secret {
            return "***".into();
        }
        let text = self.value.to_string_lossy();
        let mut shown: String = text.chars().take(SHOWN_ARGUMENT).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        let plain =
            !shown.is_empty() && !shown.contains(|c: char| c.is_whitespace() || "'\"$&|;*?<>()".contains(c));
        if plain { shown } else { format!("'{}'", shown.replace('\'', "'\\''")) }
    }
}

/// A program between its start and its end.
#[derive(Debug)]
struct Running {
    process: tokio::process::Child,
    child: Child,
    chunks: mpsc::Receiver<(Stream, Vec<u8>)>,
    exited: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    children: Arc<dyn Children>,
    over: bool,
}

impl Running {
    fn ended(&mut self) {
        self.over = true;
        self.exited.send_replace(true);
        self.children.ended(&self.child);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.over {
            // Whoever waited gave up. The program may hold state, so it is asked, not killed.
            let _ = signal_group(self.child.pid, Urgency::Interrupt);
        }
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What is kept of one stream while its lines pass by.
#[derive(Debug)]
struct Kept {
    tail: Tail,
    lines: Lines,
}

impl Kept {
    fn new(limit: usize) -> Self {
        Self { tail: Tail::new(limit), lines: Lines::default() }
    }

    fn push(&mut self, chunk: &[u8], line: impl FnMut(&str)) {
        self.tail.push(chunk);
        self.lines.push(chunk, line);
    }

    fn finish(&mut self, line: impl FnMut(&str)) {
        self.lines.finish(line);
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    // Whatever lies there may be open to others, or be a former run's program's.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options().append(true).create_new(true).mode(0o600).open(path)
}

async fn pump(mut stream: impl AsyncRead + Unpin, name: Stream, chunks: mpsc::Sender<(Stream, Vec<u8>)>) {
    let mut buffer = vec![0; 32 << 10];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        if chunks.send((name, buffer[..read].to_vec())).await.is_err() {
            return;
        }
    }
}

async fn follow(path: PathBuf, mut exited: watch::Receiver<bool>, chunks: mpsc::Sender<(Stream, Vec<u8>)>) {
    let Ok(mut file) = tokio::fs::File::open(&path).await else {
        return;
    };
    let mut buffer = vec![0; 32 << 10];
    loop {
        // Read before, so that what was written before the end is not missed.
        let was_over = *exited.borrow_and_update();
        match file.read(&mut buffer).await {
            Ok(0) if was_over => return,
            Ok(0) => {
                let _ = tokio::time::timeout(FOLLOW, exited.changed()).await;
            }
            Ok(read) => {
                let chunk = (Stream::Stdout, buffer[..read].to_vec());
                if chunks.send(chunk).await.is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}
