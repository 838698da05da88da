use std::path::PathBuf;

use crate::programs::{root, script};
use crate::sample::{all, endpoint, rehearsal, service, worker};
use crate::skip::skip;
use envctl_rehearse::evidence::Conclusion;

#[test]
fn every_kind_has_its_tracks_and_ledgers() {
    let all = all();
    let has = |kind: &str, text: &str| {
        let html = all[kind].html();
        assert!(html.contains(text), "the report of the {kind} does not say `{text}`");
    };
    has("service", "Weight of the new side");
    has("service", "Latency from the intended send");
    has("service", "weight of the new side: 0 % at 0:00, 5 % at 0:20, 0 % at 0:47");
    has("service", "fault killNewPod: 1:10 to 1:13");
    has("service", "rollback drilled from step 4, setWeight=50: 1:32 to 1:40");
    has("worker", "Ledger of jobs");
    has("worker", "job 4980 had its effect again at 1:20");
    has("worker", "pending at the end: 5795, 5796, 5797, 5798, 5799");
    has("schedule", "Ledger of ticks");
    has("schedule", "expire-old-albums began on the new side (new-0) at 4:01, and failed");
    has("endpoint", "Where the name leads");
    has("endpoint", "Others who called the old side");
}

#[test]
fn the_verdict_stands_on_top_in_words_with_its_reason() {
    let html = service().html();
    assert!(
        html.contains("<title>Rehearsal of api: successful</title>") && html.contains("Every gate passed.")
    );
    let html = worker().html();
    let reason =
        "At step 4 (stopOld), gate everyJobOnce: 3 jobs that outlived the 5 s grace period ran twice";
    assert!(html.contains("<title>Rehearsal of worker: failed</title>") && html.contains(reason));
    assert!(html.contains("raise the grace period above 9.5 s"));
    let html = endpoint().html();
    assert!(html.contains(": inconclusive</title>") && html.contains("<strong>Draft.</strong>"));
}

#[test]
fn a_rehearsal_that_ended_before_its_gates_has_a_report() {
    let mut sample = service();
    sample.recording.observations.clear();
    sample.judged.clear();
    sample.facts.steps.clear();
    sample.facts.verdict = Conclusion::Failed;
    let html = sample.html();
    assert!(html.contains("It ended before its gates could be judged."));
    assert!(html.contains("not begun") && html.contains("No gate was judged."));
}

#[test]
fn what_was_learnt_late_is_drawn_where_it_happened() {
    let mut sample = service();
    let html = sample.html();
    sample.recording.observations.reverse();
    assert!(sample.html() == html, "the order of the recording changed the report");
}

#[test]
fn what_others_wrote_is_text_and_never_markup() {
    let html = endpoint().html();
    assert!(!html.contains("<script") && !html.contains("<b>nagios"), "it was not escaped");
    assert!(
        html.contains("&lt;b&gt;nagios&lt;&#x2f;b&gt; &amp; co")
            || html.contains("&lt;b&gt;nagios&lt;/b&gt; &amp; co")
    );
}

#[test]
fn the_file_asks_for_nothing_and_runs_nothing() {
    for (kind, sample) in all() {
        let html = sample.html();
        for asks in ["http:", "https:", "src=", "@import", "<script", "<link", "<img", "url(h"] {
            assert!(!html.contains(asks), "the report of the {kind} has `{asks}`");
        }
    }
}

#[test]
fn what_the_evidence_says_is_in_it() {
    let (html, facts) = (service().html(), rehearsal());
    for digest in [facts.plan.digest, facts.new.chart, facts.new.images["app"], facts.tools["helm"]] {
        assert!(html.contains(&digest.to_string()), "{digest}");
    }
    assert!(html.contains("a node of the cluster that is lost"));
}

#[test]
fn a_browser_shows_it_without_overflow_in_light_and_dark() {
    let Some(mut screenshot) = script("screenshot.py", &["PIL"]) else { return };
    let dir = tempfile::tempdir().unwrap();
    // Who wants to look at them names a directory.
    let shots = std::env::var_os("ENVCTL_SCREENSHOTS").map_or_else(|| dir.path().to_owned(), PathBuf::from);
    screenshot.current_dir(root()).arg(&shots);
    for (kind, sample) in all() {
        let file = dir.path().join(format!("{kind}.html"));
        std::fs::write(&file, sample.html()).unwrap();
        screenshot.arg(file);
    }
    let output = screenshot.output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => {}
        Some(77) => skip(said.trim()),
        _ => panic!("{said}"),
    }
}
