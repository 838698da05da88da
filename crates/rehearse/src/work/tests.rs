use futures_util::stream;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, DuplexStream, duplex};

use super::*;
use crate::observation::{JobEvent, Observation};
use crate::recording::Recording;

/// A recorder, and where its file is.
fn recorder(directory: &tempfile::TempDir) -> Recorder {
    Recorder::begin(&directory.path().join("recording"), 1).unwrap()
}

fn due(after_ms: u64, id: &str) -> Due {
    Due { after: Duration::from_millis(after_ms), id: id.into(), class: "mail".into(), seconds: 1.5 }
}

/// Due at once, each.
fn dues(ids: &[&str]) -> Vec<Due> {
    ids.iter().map(|id| due(0, id)).collect()
}

fn lines_of(output: DuplexStream) -> impl Stream<Item = io::Result<String>> + Unpin {
    let lines = BufReader::new(output).lines();
    Box::pin(stream::unfold(lines, async |mut lines| {
        let line = lines.next_line().await.transpose()?;
        Some((line, lines))
    }))
}

/// What was recorded, as `id event`.
fn told(recorder: &Recorder) -> Vec<String> {
    recorder.read(|recording| {
        let of = |seen: &Observation| match seen {
            Observation::Job { id, class, event, side: None, instance: None, .. } if class == "mail" => {
                format!("{id} {event:?}")
            }
            other => panic!("{other:?}"),
        };
        recording.observations.iter().map(of).collect()
    })
}

/// Answers each line with that of `answer`, until there is none: then it dies.
async fn tool(input: DuplexStream, mut output: DuplexStream, answer: impl Fn(&str, &str) -> Option<String>) {
    let mut lines = BufReader::new(input).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        let order: serde_json::Value = serde_json::from_str(&line).unwrap();
        let Some(answer) = answer(order["job"].as_str().unwrap(), &line) else { return };
        output.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
    }
}

/// Runs these jobs against such a tool.
async fn worked(
    recorder: &Recorder,
    dues: Vec<Due>,
    stopped: CancellationToken,
    answer: impl Fn(&str, &str) -> Option<String>,
) -> Result<Worked, WorkError> {
    let ((writer, input), (output, lines)) = (duplex(4096), duplex(4096));
    let running = run(dues.into_iter(), recorder, writer, lines_of(lines), stopped);
    tokio::join!(running, tool(input, output, answer)).0
}

fn well(job: &str, _: &str) -> Option<String> {
    Some(format!(r#"{{"job": "{job}", "enqueued": true}}"#))
}

#[tokio::test]
async fn a_job_is_on_the_disk_before_the_tool_learns_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let recorder = recorder(&directory);
    let answer = |job: &str, line: &str| {
        assert_eq!(line, format!(r#"{{"job":"{job}","class":"mail","seconds":1.5}}"#));
        let on_disk = Recording::read(&directory.path().join("recording")).unwrap().observations;
        let is_intended = |seen: &Observation| matches!(seen, Observation::Job { id, event: JobEvent::Intended, .. } if id == job);
        assert!(on_disk.iter().any(is_intended), "{job}: {on_disk:?}");
        well(job, line)
    };
    let jobs = vec![due(0, "a"), due(30, "b")];
    let worked = worked(&recorder, jobs, CancellationToken::new(), answer).await.unwrap();
    assert_eq!((worked.intended, worked.enqueued, worked.unanswered.len()), (2, 2, 0));
    assert_eq!(told(&recorder), ["a Intended", "a Enqueued", "b Intended", "b Enqueued"]);
}

#[tokio::test]
async fn a_refused_job_stays_intended_and_is_reported_with_why() {
    let directory = tempfile::tempdir().unwrap();
    let recorder = recorder(&directory);
    let answer = |job: &str, line: &str| match job {
        "b" => Some("trying again\n{\"job\": \"b\", \"error\": \"queue full\"}".to_owned()),
        _ => well(job, line),
    };
    let worked = worked(&recorder, dues(&["a", "b"]), CancellationToken::new(), answer).await.unwrap();
    assert_eq!((worked.intended, worked.enqueued, worked.refused), (2, 1, 1));
    assert_eq!(worked.refusals, [("b".to_owned(), "queue full".to_owned())]);
    assert_eq!(told(&recorder), ["a Intended", "b Intended", "a Enqueued"]);
}

#[tokio::test]
async fn jobs_are_due_whether_or_not_earlier_ones_were_answered_or_even_read() {
    let directory = tempfile::tempdir().unwrap();
    let recorder = recorder(&directory);
    // No order fits into the pipe, and the tool reads only when all are written down.
    let ((writer, input), (output, lines)) = (duplex(8), duplex(4096));
    let running =
        run(dues(&["a", "b", "c"]).into_iter(), &recorder, writer, lines_of(lines), CancellationToken::new());
    let reading = async {
        assert!(recorder.until(Duration::from_secs(60), |new| new.len() == 3).await);
        tool(input, output, well).await;
    };
    let (worked, ()) = tokio::join!(running, reading);
    assert_eq!(worked.unwrap().enqueued, 3);
}

#[tokio::test]
async fn a_load_that_is_stopped_sends_nothing_more_and_lets_the_tool_end() {
    let directory = tempfile::tempdir().unwrap();
    let recorder = recorder(&directory);
    let stopped = CancellationToken::new();
    let answer = |job: &str, line: &str| {
        stopped.cancel();
        well(job, line)
    };
    let jobs = vec![due(0, "a"), due(3_600_000, "b")];
    // The tool ends when its input does: without that, this would not come back.
    let worked = worked(&recorder, jobs, stopped.clone(), answer).await.unwrap();
    assert_eq!((worked.intended, worked.enqueued), (1, 1));
    assert_eq!(told(&recorder), ["a Intended", "a Enqueued"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_without_an_answer_is_waited_for_a_while_and_stays_intended() {
    let directory = tempfile::tempdir().unwrap();
    let recorder = recorder(&directory);
    let ((writer, mut input), (_output, lines)) = (duplex(4096), duplex(4096));
    let running =
        run(dues(&["b", "a"]).into_iter(), &recorder, writer, lines_of(lines), CancellationToken::new());
    let mut orders = String::new();
    // The input ends at once; the tool says nothing and does not end.
    let (worked, read) = tokio::join!(running, input.read_to_string(&mut orders));
    assert_eq!((orders.lines().count(), read.unwrap()), (2, orders.len()));
    assert_eq!(worked.unwrap().unanswered, ["a", "b"]);
    assert_eq!(told(&recorder), ["b Intended", "a Intended"]);
}

#[tokio::test]
async fn a_tool_that_dies_is_told_in_words_and_what_it_answered_counts() {
    let directory = tempfile::tempdir().unwrap();
    let recorder = recorder(&directory);
    let answer = |job: &str, line: &str| if job == "b" { None } else { well(job, line) };
    let jobs = vec![due(0, "a"), due(30, "b"), due(3_600_000, "c")];
    let error = worked(&recorder, jobs, CancellationToken::new(), answer).await.unwrap_err();
    assert!(
        error.to_string().contains("ended before it was told to, with 1 of 2 jobs unanswered"),
        "{error}"
    );
    assert_eq!(told(&recorder), ["a Intended", "a Enqueued", "b Intended"]);
}

#[tokio::test]
async fn a_pipe_that_nobody_reads_is_an_error_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let recorder = recorder(&directory);
    let ((writer, input), (output, lines)) = (duplex(4096), duplex(4096));
    drop(input);
    // Its last words are heard, though nothing can be written to it any more.
    let running =
        run(dues(&["a", "b"]).into_iter(), &recorder, writer, lines_of(lines), CancellationToken::new());
    let dying = async {
        let mut output = output;
        assert!(recorder.until(Duration::from_secs(60), |new| !new.is_empty()).await);
        output.write_all(b"{\"job\": \"a\", \"enqueued\": true}\n").await.unwrap();
    };
    let (worked, ()) = tokio::join!(running, dying);
    let error = worked.unwrap_err();
    assert!(
        matches!(&error, WorkError::Ended { error: Some(error), .. } if error.kind() == io::ErrorKind::BrokenPipe)
    );
    assert!(error.to_string().contains("(broken pipe): see what it printed"), "{error}");
    assert!(told(&recorder).contains(&"a Enqueued".to_owned()), "{:?}", told(&recorder));
}

#[tokio::test]
async fn what_is_no_answer_is_refused_with_what_is_expected() {
    for (answer, problem) in [
        (r#"{"job": "z", "enqueued": true}"#, "was not given this job"),
        (r#"{"job": "a"}"#, "and there is no `error`"),
        (r#"{"job": "a", "enqueued": true, "error": "no"}"#, "not both"),
        (r#"{"id": "a", "enqueued": true}"#, "missing field `job`"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (recorder, stopped) = (recorder(&directory), CancellationToken::new());
        let jobs = vec![due(0, "a"), due(3_600_000, "b")];
        let error =
            worked(&recorder, jobs, stopped, |_, _| Some(answer.to_owned())).await.unwrap_err().to_string();
        assert!(
            error.contains(problem) && error.contains("expected: {\"job\": \"ID\", \"enqueued\""),
            "{error}"
        );
    }
}
