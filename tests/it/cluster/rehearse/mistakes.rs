//! Mistakes that people make at a cutover, each a folder of `tests/rehearsal/failures`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::{PLACES, Rehearsal, components, merge};
use crate::support::cluster::Cluster;
use crate::support::{have, root, skip};

/// Names mistakes to rehearse with, with commas, or `all` of them; their rows of the table are written anew. Without it
/// those are taken which say that they are to be rehearsed often.
const WHICH: &str = "ENVCTL_MISTAKES";

/// How many rehearsals without a mistake there are to be; none without it.
const CLEAN: &str = "ENVCTL_CLEAN_RUNS";

/// In the order in which they take turns.
const KINDS: [&str; 4] = ["service", "endpoint", "worker", "schedule"];

/// The table of all mistakes, and of what there is without one.
const TABLE: &str = "docs/mistakes.md";

/// Whoever writes the table writes all of it.
static WRITING: Mutex<()> = Mutex::new(());

const HEAD: &str = "# Mistakes\n\nWhat people get wrong at a cutover, and what catches it in a rehearsal of a small \
    component: written by `make rehearse-all`. Each is a folder of \
    [tests/rehearsal/failures](../tests/rehearsal/failures/README.md).\n\n\
    | mistake | of | expected | what fired | seconds |\n|---|---|---|---|---|\n";

const HEAD_OF_CLEAN: &str = "\n## Without a mistake\n";

/// The folders, from where the table is.
const FROM_TABLE: &str = "../tests/rehearsal/failures/";

/// A folder.
#[derive(Debug)]
struct Mistake {
    name: String,
    /// The heading of its README.
    title: String,
    of: String,
    /// The gate that has to catch it, and the invariant of that gate.
    expected: (String, String),
    often: bool,
    patch: Value,
}

impl Mistake {
    fn read(folder: &Path) -> Self {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let file = |file: &str| {
            std::fs::read_to_string(folder.join(file)).unwrap_or_else(|e| panic!("{name}: {file}: {e}"))
        };
        let now = Timestamp::now();
        let hour = |at: Timestamp| TimeZone::UTC.to_datetime(at).hour().to_string();
        let text = file("mistake.json")
            .replace("${HOUR}", &hour(now))
            .replace("${NEXT_HOUR}", &hour(now + jiff::SignedDuration::from_hours(1)));
        let mut told: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let word =
            |key: &str| told[key].as_str().unwrap_or_else(|| panic!("{name} has no `{key}`")).to_owned();
        let (of, expected) = (word("of"), (word("gate"), word("invariant")));
        let title = file("README.md").lines().next().unwrap_or_default().trim_start_matches("# ").to_owned();
        Self { name, title, of, expected, often: told["often"] == true, patch: told["patch"].take() }
    }

    /// All folders, in the order of their names.
    fn all() -> Vec<Self> {
        let entries = std::fs::read_dir(root().join("tests/rehearsal/failures")).unwrap();
        let folders: BTreeSet<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        folders.iter().filter(|path| path.is_dir()).map(|path| Self::read(path)).collect()
    }
}

/// What came of the rehearsal with a mistake.
#[derive(Debug)]
struct Played<'a> {
    mistake: &'a Mistake,
    /// Gates that did not pass, each with an invariant of it.
    fired: BTreeSet<(String, String)>,
    seconds: f64,
    /// Why this is not what the folder says, with all that was said.
    wrong: Option<String>,
}

/// Which gates failed or could not be judged, each by which invariants, as the screen says it.
fn fired(stdout: &str) -> BTreeSet<(String, String)> {
    let mut gate = "";
    let mut fired = BTreeSet::new();
    for line in stdout.lines().map(str::trim) {
        let words: Vec<_> = line.split_whitespace().collect();
        if let Some(at) = words.iter().position(|word| *word == "gate")
            && (line.ends_with(" failed") || line.ends_with(" cannot be judged"))
        {
            gate = words[at + 1];
        }
        if let Some((invariant, _)) = line.split_once(": ")
            && !gate.is_empty()
            && invariant.chars().all(char::is_alphanumeric)
        {
            fired.insert((gate.to_owned(), invariant.to_owned()));
        }
    }
    fired
}

/// How a component of a kind is made.
fn component(kind: &str) -> fn(&str) -> Value {
    match kind {
        "service" => components::service,
        "endpoint" => components::endpoint,
        "worker" => components::worker,
        "schedule" => components::schedule,
        other => panic!("there is no component `{other}`"),
    }
}

/// Does all of them, as many at a time as there are places.
fn side_by_side<I: Iterator + Send, T: Send>(items: I, each: impl Fn(I::Item) -> T + Sync) -> Vec<T> {
    let (next, ended) = (Mutex::new(items), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..PLACES {
            scope.spawn(|| {
                loop {
                    let Some(item) = next.lock().unwrap().next() else { break };
                    let one = each(item);
                    ended.lock().unwrap().push(one);
                }
            });
        }
    });
    ended.into_inner().unwrap()
}

fn play<'a>(cluster: &'static Cluster, mistake: &'a Mistake) -> Played<'a> {
    let mut rehearsal = Rehearsal::of(cluster, "kmistake", component(&mistake.of));
    rehearsal.shorten();
    merge(&mut rehearsal.all, &mistake.patch);
    let begun = Instant::now();
    let ran = rehearsal.run(&[]);
    let seconds = begun.elapsed().as_secs_f64();
    let fired = fired(&ran.stdout);
    let left = rehearsal.left();
    let wrong = if ran.code != 4 || ran.stdout.contains("verdict    SUCCESSFUL") {
        Some("nothing caught it".to_owned())
    } else if !fired.contains(&mistake.expected) {
        Some(format!("{:?} did not catch it", mistake.expected))
    } else {
        (!left.is_empty()).then(|| format!("{left:?} is left"))
    };
    let said = format!("--- {} ({seconds:.0} s) ---\n{}{}", mistake.name, ran.stdout, ran.stderr);
    eprintln!("{said}");
    Played { mistake, fired, seconds, wrong: wrong.map(|wrong| format!("{}: {wrong}\n{said}", mistake.name)) }
}

/// Those that are rehearsed with now.
fn chosen(all: &[Mistake]) -> Vec<&Mistake> {
    let which = std::env::var(WHICH).unwrap_or_default();
    let names: Vec<_> = which.split(',').filter(|name| !name.is_empty()).collect();
    let is_meant = |mistake: &&Mistake| match &names[..] {
        [] => mistake.often,
        ["all"] => true,
        names => names.contains(&&*mistake.name),
    };
    all.iter().filter(is_meant).collect()
}

fn written(gate: &str, invariant: &str) -> String {
    format!("`{gate}`: `{invariant}`")
}

impl Played<'_> {
    /// Its row of the table.
    fn row(&self) -> String {
        let Mistake { name, title, of, expected, .. } = self.mistake;
        let fired: Vec<_> = self.fired.iter().map(|(gate, invariant)| written(gate, invariant)).collect();
        let fired = if fired.is_empty() { "nothing".to_owned() } else { fired.join(", ") };
        let expected = written(&expected.0, &expected.1);
        let link = format!("[{title}]({FROM_TABLE}{name}/README.md)");
        format!("| {link} | {of} | {expected} | {fired} | {:.0} |", self.seconds)
    }
}

/// The table with new rows for those that were played, and without those of mistakes that there are no more.
fn table(before: &str, all: &[Mistake], played: &[Played<'_>]) -> String {
    let mut table = HEAD.to_owned();
    for mistake in all {
        let link = format!("({FROM_TABLE}{}/README.md)", mistake.name);
        let now = played.iter().find(|one| one.mistake.name == mistake.name).map(Played::row);
        let row = now.or_else(|| before.lines().find(|row| row.contains(&link)).map(str::to_owned));
        if let Some(row) = row {
            let _ = writeln!(table, "{row}");
        }
    }
    // What went well stands behind it.
    let well = before.find(HEAD_OF_CLEAN).map_or("", |at| &before[at..]);
    format!("{table}{well}")
}

#[test]
fn each_mistake_is_caught_at_the_gate_and_by_the_invariant_that_its_folder_names() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["docker", "helm", "python3"]) {
        return;
    }
    let all = Mistake::all();
    let chosen = chosen(&all);
    assert!(!chosen.is_empty(), "no mistake is called so");
    if chosen.len() < all.len() {
        skip(format!(
            "{} of {} mistakes: `make rehearse-all` rehearses all",
            all.len() - chosen.len(),
            all.len()
        ));
    }
    let played = side_by_side(chosen.into_iter(), |mistake| play(cluster, mistake));
    let path = root().join(TABLE);
    let alone = WRITING.lock().unwrap();
    let table = table(&std::fs::read_to_string(&path).unwrap_or_default(), &all, &played);
    eprintln!("{table}");
    if std::env::var_os(WHICH).is_some() {
        std::fs::write(path, table).unwrap();
    }
    drop(alone);
    let wrong: Vec<_> = played.into_iter().filter_map(|one| one.wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// A rehearsal without a mistake, of one kind after the other, each with another seed. What went wrong, if anything did.
fn clean(cluster: &'static Cluster, number: usize) -> Result<f64, String> {
    let kind = KINDS[number % KINDS.len()];
    let rehearsal = Rehearsal::of(cluster, "kclean", component(kind));
    let begun = Instant::now();
    let ran = rehearsal.run(&["--seed", &number.to_string()]);
    let seconds = begun.elapsed().as_secs_f64();
    let left = rehearsal.left();
    let said = format!("--- {kind} with seed {number} ({seconds:.0} s) ---\n{}{}", ran.stdout, ran.stderr);
    eprintln!("{said}");
    let well = ran.code == 0 && ran.stdout.contains("verdict    SUCCESSFUL") && left.is_empty();
    if well { Ok(seconds) } else { Err(format!("{said}\nleft: {left:?}")) }
}

#[test]
fn what_is_done_as_it_should_be_gives_no_alarm() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["docker", "helm", "python3"]) {
        return;
    }
    let Some(runs) = std::env::var(CLEAN).ok().and_then(|runs| runs.parse::<usize>().ok()) else {
        skip("the runs without a mistake that `make rehearse-all` makes");
        return;
    };
    let ended = side_by_side(0..runs, |number| (number, clean(cluster, number)));
    let mut text = format!(
        "{HEAD_OF_CLEAN}\nThe same components with every drill and with their faults, each run with another seed.\n\n\
         | of | runs | alarms | seconds |\n|---|---|---|---|\n"
    );
    for (index, kind) in KINDS.iter().enumerate() {
        let of: Vec<_> = ended.iter().filter(|(number, _)| number % KINDS.len() == index).collect();
        let seconds: Vec<_> = of.iter().filter_map(|(_, run)| run.as_ref().ok()).copied().collect();
        let (least, most) = seconds.iter().fold((f64::INFINITY, 0_f64), |(a, b), s| (a.min(*s), b.max(*s)));
        let alarms = of.len() - seconds.len();
        let _ = writeln!(text, "| {kind} | {} | {alarms} | {least:.0} to {most:.0} |", of.len());
    }
    let path = root().join(TABLE);
    let alone = WRITING.lock().unwrap();
    let before = std::fs::read_to_string(&path).unwrap();
    let mistakes = &before[..before.find(HEAD_OF_CLEAN).unwrap_or(before.len())];
    std::fs::write(path, format!("{mistakes}{text}")).unwrap();
    drop(alone);
    let alarms: Vec<_> = ended.into_iter().filter_map(|(_, run)| run.err()).collect();
    assert!(alarms.is_empty(), "{}", alarms.join("\n\n"));
}

#[test]
fn the_table_has_every_mistake_and_says_that_it_was_caught() {
    let table = std::fs::read_to_string(root().join(TABLE)).unwrap();
    let all = Mistake::all();
    for mistake in &all {
        let link = format!("({FROM_TABLE}{}/README.md) | {} |", mistake.name, mistake.of);
        let row = table.lines().find(|row| row.contains(&link));
        let row = row.unwrap_or_else(|| panic!("{TABLE} has no {}: run `make rehearse-all`", mistake.name));
        let expected = written(&mistake.expected.0, &mistake.expected.1);
        assert_eq!(row.matches(&expected).count(), 2, "{row}");
    }
    let clean = &table[table.find(HEAD_OF_CLEAN).expect("it has the runs without a mistake")..];
    for kind in KINDS {
        let row = clean.lines().find(|row| row.starts_with(&format!("| {kind} | ")));
        assert!(row.is_some_and(|row| row.contains(" | 0 | ")), "{TABLE}: alarms without a mistake: {row:?}");
    }
    assert!(all.len() >= 24 && all.iter().filter(|mistake| mistake.often).count() >= 8, "{}", all.len());
}
