//! Starting, watching and ending programs, tried with small ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod support;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use envctl_programs::process::{
    Child, Children, Command, Ended, Input, ProgramError, Signals, Stream, Supervisor, Tool, Version, end,
    gone, still_alive,
};
use support::{Scripts, until};

#[derive(Default)]
struct Journal(Mutex<Vec<(bool, Child)>>);

impl Children for Journal {
    fn started(&self, child: &Child) -> io::Result<()> {
        assert!(still_alive(child));
        self.0.lock().unwrap().push((true, child.clone()));
        Ok(())
    }

    fn ended(&self, child: &Child) {
        self.0.lock().unwrap().push((false, child.clone()));
    }
}

#[tokio::test]
async fn output_input_and_journal() {
    let scripts = Scripts::new();
    let program = scripts.write("echoes", "cat; echo to-stderr >&2; sleep 0.2");
    let journal = Arc::new(Journal::default());
    let by = Supervisor { children: journal.clone(), ..Supervisor::default() };
    let mut lines = Vec::new();
    let output = Command::new(program)
        .input(Input::Bytes("one\ntwo".into()))
        .run_with_lines(&by, |stream, line| lines.push((stream, line.to_owned())))
        .await
        .unwrap();
    assert_eq!(output.stdout_text(), "one\ntwo");
    assert_eq!(output.stderr, "to-stderr\n");
    lines.sort_by_key(|(stream, _)| *stream == Stream::Stderr);
    let expected = [(Stream::Stdout, "one"), (Stream::Stdout, "two"), (Stream::Stderr, "to-stderr")];
    assert_eq!(lines, expected.map(|(stream, line)| (stream, line.to_owned())));
    let heard = journal.0.lock().unwrap();
    assert_eq!(heard.len(), 2);
    assert_eq!((heard[0].0, heard[1].0), (true, false));
    assert_eq!(heard[0].1, heard[1].1);
    assert!(!still_alive(&heard[0].1));
}

#[tokio::test]
async fn a_failure_is_told_whole_but_for_secrets() {
    let scripts = Scripts::new();
    let program = scripts.write("fails", "echo first >&2; echo second >&2; exit 7");
    let error = Command::new(program)
        .args(["login", "--user", "a b"])
        .secret_arg("hunter2")
        .run(&Supervisor::default())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "fails login --user 'a b' *** failed (exit code 7)\nfirst\nsecond");
}

#[tokio::test]
async fn what_is_missing_is_told_apart() {
    let by = Supervisor::default();
    let error = Command::new("no-such-program").how_to_get("make it").run(&by).await.unwrap_err();
    let ProgramError::NotFound { how_to_get, .. } = error else { panic!("{error}") };
    assert_eq!(how_to_get, "make it");
    let error = Command::new("sh").current_dir("/no/such/place").run(&by).await.unwrap_err();
    assert!(matches!(&error, ProgramError::Io { doing, .. } if doing.contains("/no/such/place")), "{error}");
}

#[tokio::test]
async fn the_first_interrupt_lets_a_program_save_its_state() {
    let scripts = Scripts::new();
    let saved = scripts.path("saved");
    let ready = scripts.path("ready");
    let program = scripts.write(
        "saves",
        &format!(
            "trap 'echo state > {}; exit 1' INT\ntouch {}\nwhile :; do sleep 0.05; done",
            saved.display(),
            ready.display()
        ),
    );
    let (interrupter, signals) = Signals::new();
    let by = Supervisor { signals, ..Supervisor::default() };
    let run = tokio::spawn(async move { Command::new(program).run(&by).await });
    until("the program is ready", || ready.exists()).await;
    interrupter.request();
    let error = run.await.unwrap().unwrap_err();
    assert!(matches!(error, ProgramError::Interrupted { killed: false, .. }), "{error}");
    assert!(saved.exists());
}

#[tokio::test]
async fn only_the_third_interrupt_kills_and_it_kills_the_whole_group() {
    let scripts = Scripts::new();
    let count = scripts.path("count");
    let grandchild = scripts.path("grandchild");
    let program = scripts.write(
        "stubborn",
        &format!(
            "trap 'echo int >> {0}' INT\n(trap '' INT; exec sleep 600) &\necho $! > {1}.new\nmv {1}.new {1}\nwhile :; do sleep 0.05; done",
            count.display(),
            grandchild.display()
        ),
    );
    let (interrupter, signals) = Signals::new();
    let by = Supervisor { signals, ..Supervisor::default() };
    let run = tokio::spawn(async move { Command::new(program).run(&by).await });
    until("the program is ready", || grandchild.exists()).await;
    let interrupts = || std::fs::read_to_string(&count).unwrap_or_default().lines().count();
    for number in 1..=2 {
        interrupter.request();
        until("the interrupt is seen", || interrupts() == number).await;
    }
    assert!(!run.is_finished());
    interrupter.request();
    let error = run.await.unwrap().unwrap_err();
    assert!(matches!(error, ProgramError::Interrupted { killed: true, .. }), "{error}");
    let pid: u32 = std::fs::read_to_string(&grandchild).unwrap().trim().parse().unwrap();
    until("the grandchild is gone", || support::is_gone(pid)).await;
}

#[tokio::test]
async fn after_an_interrupt_nothing_is_started() {
    let (interrupter, signals) = Signals::new();
    interrupter.request();
    let by = Supervisor { signals, ..Supervisor::default() };
    let error = Command::new("true").run(&by).await.unwrap_err();
    assert!(matches!(error, ProgramError::Interrupted { .. }), "{error}");
}

#[tokio::test]
async fn a_chatty_program_does_not_fill_the_memory() {
    let scripts = Scripts::new();
    let program = scripts.write("chatty", "head -c 50000000 /dev/zero | tr '\\0' 'x'; echo; echo last");
    let output = Command::new(program).run(&Supervisor::default()).await.unwrap();
    assert!(output.stdout.len() <= 1 << 20);
    assert!(output.stdout.ends_with(b"\nlast\n"));
    let program = scripts.path("chatty");
    let output = Command::new(program).whole_stdout().run(&Supervisor::default()).await.unwrap();
    assert_eq!(output.stdout.len(), 50_000_006);
}

#[tokio::test]
async fn a_grandchild_that_holds_the_pipe_does_not_hold_us() {
    let scripts = Scripts::new();
    let pid = scripts.path("pid");
    let program = scripts.write("leaves", &format!("sleep 600 & echo $! > {}; echo done", pid.display()));
    let output = Command::new(program).run(&Supervisor::default()).await.unwrap();
    assert_eq!(output.stdout_text(), "done\n");
    let pid: i32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_logged_program_is_followed_and_its_log_is_private() {
    let scripts = Scripts::new();
    let log = scripts.path("log");
    std::fs::write(&log, "what a former run wrote\n").unwrap();
    let program = scripts.write("logs", "echo one; echo two >&2; sleep 0.2; printf three; exit 3");
    let mut lines = Vec::new();
    let error = Command::new(program)
        .log_to(&log)
        .run_with_lines(&Supervisor::default(), |_, line| lines.push(line.to_owned()))
        .await
        .unwrap_err();
    assert_eq!(lines, ["one", "two", "three"]);
    let ProgramError::Failed(failure) = error else { panic!("{error}") };
    assert_eq!(failure.ended, Ended::Code(3));
    assert_eq!(failure.message, "one\ntwo\nthree");
    assert_eq!(std::fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_child_that_cannot_be_noted_down_is_ended() {
    struct Full;
    impl Children for Full {
        fn started(&self, _: &Child) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn ended(&self, _: &Child) {}
    }
    let by = Supervisor { children: Arc::new(Full), ..Supervisor::default() };
    let error = Command::new("sleep").arg("600").run(&by).await.unwrap_err();
    assert!(matches!(error, ProgramError::Io { .. }), "{error}");
}

#[tokio::test]
async fn a_child_of_a_former_run_is_waited_for_or_ended() {
    let scripts = Scripts::new();
    let program = scripts.write("works", "trap 'exit 1' INT; while :; do sleep 0.05; done");
    let journal = Arc::new(Journal::default());
    let by = Supervisor { children: journal.clone(), ..Supervisor::default() };
    let run = tokio::spawn(async move { Command::new(program).run(&by).await });
    until("the program is started", || !journal.0.lock().unwrap().is_empty()).await;
    let child = journal.0.lock().unwrap()[0].1.clone();

    // The same pid with another start time is a stranger: it is neither waited for nor ended.
    let stranger = Child { started: "1@another-boot".into(), ..child.clone() };
    assert!(!still_alive(&stranger));
    end(&stranger, &Signals::none()).await.unwrap();
    gone(&stranger).await;
    assert!(still_alive(&child));

    end(&child, &Signals::none()).await.unwrap();
    assert!(!still_alive(&child));
    assert!(run.await.unwrap().is_err());
}

#[tokio::test]
async fn an_old_program_is_refused_with_where_to_get_a_new_one() {
    let scripts = Scripts::new();
    let by = Supervisor::default();
    let old = scripts.write("helm", "echo v3.9.1+gabcdef");
    let error = Tool::Helm.probe(&old, &by).await.unwrap_err().to_string();
    assert!(error.starts_with("helm 3.9.1 is too old: 3.16.0 or newer is needed"), "{error}");
    assert!(error.contains("https://helm.sh"), "{error}");
    let new = scripts.write("terraform", r#"echo '{"terraform_version":"1.11.4"}'"#);
    let found = Tool::Terraform.probe(&new, &by).await.unwrap();
    assert_eq!(found, Some(Version::new(1, 11, 4)));
    let own = scripts.write("dev-helm", "echo dev");
    assert_eq!(Tool::Helm.probe(&own, &by).await.unwrap(), None);
    let no_plugin =
        scripts.write("docker", "echo \"docker: 'compose' is not a docker command.\" >&2; exit 1");
    let error = Tool::DockerCompose.probe(&no_plugin, &by).await.unwrap_err().to_string();
    assert!(error.starts_with("docker compose is not installed"), "{error}");
}
