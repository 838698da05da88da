//! `envctl evidence`: keys, and what is refused for which reason.

use std::os::unix::fs::PermissionsExt as _;

use envctl_model::stack::TargetKind;
use envctl_rehearse::evidence::*;
use jiff::{SignedDuration, Timestamp};

use crate::support::{House, Ran};

#[path = "../../crates/rehearse/src/evidence/sample.rs"]
mod sample;

const FILE: &str = "rehearsal.intoto.jsonl";

/// A house whose repository lists `aki`, who has a key, and has a plan.
fn house() -> House {
    let house = House::new("evidence");
    let line = house.envctl(&["evidence", "keygen", "key"]).exits(0).stdout;
    std::fs::create_dir(house.src().join("rehearsal")).unwrap();
    std::fs::write(house.src().join("rehearsal/signers"), format!("# on duty\n{line}")).unwrap();
    std::fs::write(house.src().join("rehearsal/api.yaml"), "plan").unwrap();
    house
}

/// Signs a rehearsal that ended an hour ago, after a change.
fn signed(house: &House, change: impl FnOnce(&mut Rehearsal)) {
    let mut rehearsal = sample::rehearsal();
    let took = rehearsal.ended.duration_since(rehearsal.began);
    rehearsal.ended = Timestamp::now() - SignedDuration::from_hours(1);
    rehearsal.began = rehearsal.ended - took;
    change(&mut rehearsal);
    write(house, &sign(&rehearsal, &SigningKey::read(&house.src().join("key")).unwrap()).unwrap());
}

fn write(house: &House, bytes: &[u8]) {
    std::fs::write(house.src().join(FILE), bytes).unwrap();
}

fn verify(house: &House, more: &[&str]) -> Ran {
    let mut arguments = vec!["evidence", "verify", FILE];
    arguments.extend(more);
    house.envctl(&arguments)
}

#[test]
fn a_key_is_private_and_its_line_is_one_of_signers() {
    let house = House::new("key");
    let ran = house.envctl(&["evidence", "keygen", "key", "--signer", "noa"]).exits(0);
    assert!(ran.stdout.starts_with("noa ed25519 ") && ran.stdout.lines().count() == 1, "{}", ran.stdout);
    let key = house.src().join("key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = std::fs::read_to_string(&key).unwrap();
    assert!(!ran.stderr.contains(secret.lines().nth(1).unwrap()), "the private key was printed");
    house.envctl(&["evidence", "keygen", "key"]).exits(2).says("key exists already");
    assert_eq!(std::fs::read_to_string(&key).unwrap(), secret, "it was overwritten");
    house.envctl(&["evidence", "keygen", "k", "--signer", "two words"]).exits(2).says("is not one word");
}

#[test]
fn evidence_of_a_listed_signer_is_verified_and_shown_offline() {
    let house = house();
    signed(&house, |_| {});
    verify(&house, &[])
        .exits(0)
        .says("verified: rehearsal of api, successful, ended 60 min ago, signed by aki");
    verify(&house, &["--plan", "rehearsal/api.yaml"]).exits(0);
    let json = verify(&house, &["--json"]).exits(0).json();
    assert_eq!((&json["verified"], &json["signer"]), (&true.into(), &"aki".into()));

    let shown = house.envctl(&["evidence", "show", FILE]).exits(0).says("rehearsal of api: successful");
    for part in ["setWeight=50", "noFailedRequest, latencySLO", "4.1 s", "a node of the cluster that is lost"]
    {
        assert!(shown.stdout.contains(part), "{part}\n{}", shown.stdout);
    }
    let shown = house.envctl(&["evidence", "show", FILE, "--json"]).exits(0).json();
    assert_eq!((&shown["id"], &shown["rehearsal"]["component"]), (&json["id"], &"api".into()));
}

#[test]
fn each_refusal_has_its_reason_and_the_exit_code_of_a_guard() {
    let house = house();
    type Change = fn(&mut Rehearsal);
    let changes: [(Change, &[&str], &str); 6] = [
        (|it| it.new.target = TargetKind::Compose, &[], "it is a draft: the new side ran on Compose"),
        (|it| it.verdict = Conclusion::Failed, &[], "the rehearsal's verdict is failed"),
        (|it| it.verdict = Conclusion::Inconclusive, &[], "the rehearsal's verdict is inconclusive"),
        (|_| {}, &["--max-age", "30m"], "the rehearsal ended 1 h ago; evidence counts for 30 min"),
        (
            |it| it.ended = Timestamp::now() + SignedDuration::from_hours(1),
            &[],
            "one of the two clocks is wrong",
        ),
        (
            |it| it.plan.digest = Digest::of(b"x"),
            &["--plan", "rehearsal/api.yaml"],
            "the plan is not the one",
        ),
    ];
    for (change, more, reason) in changes {
        signed(&house, change);
        verify(&house, more).exits(3).says(reason).says(FILE);
    }
    let json = verify(&house, &["--plan", "rehearsal/api.yaml", "--json"]).exits(3).json();
    assert_eq!(json["verified"], false);
    assert!(json["refusal"].as_str().unwrap().contains("the plan is not the one"));
}

#[test]
fn what_was_changed_cut_off_or_signed_by_a_stranger_is_refused() {
    let house = house();
    signed(&house, |_| {});
    let path = house.src().join(FILE);
    let file = std::fs::read(&path).unwrap();

    write(&house, &file[..file.len() / 2]);
    verify(&house, &[]).exits(3).says("it was cut off");
    house.envctl(&["evidence", "show", FILE]).exits(2).says("it was cut off");

    // A character of the payload's base64 that stays base64.
    let mut changed = file.clone();
    changed[40] = if changed[40] == b'A' { b'B' } else { b'A' };
    write(&house, &changed);
    verify(&house, &[]).exits(3).says("the signature is not aki's of this content");

    write(&house, &file);
    let stranger = house.envctl(&["evidence", "keygen", "other", "--signer", "noa"]).exits(0).stdout;
    std::fs::write(house.src().join("others"), stranger).unwrap();
    verify(&house, &["--signers", "others"]).exits(3).says("is not in the signers file: it lists noa");
}

#[test]
fn what_cannot_be_read_is_bad_input() {
    let house = house();
    verify(&house, &[]).exits(2).says("cannot read rehearsal.intoto.jsonl");
    signed(&house, |_| {});
    verify(&house, &["--plan", "nope.yaml"]).exits(2).says("cannot read nope.yaml");
    verify(&house, &["--max-age", "never"]).exits(2).says("`never` is not an age");
    std::fs::write(house.src().join("rehearsal/signers"), "aki rsa AAAA\n").unwrap();
    verify(&house, &[]).exits(2).says("rehearsal/signers, line 1: `rsa` is no kind of key");
    std::fs::remove_file(house.src().join("rehearsal/signers")).unwrap();
    verify(&house, &[]).exits(2).says("there is no rehearsal/signers in").says("--signers FILE");
    assert!(house.src().join(FILE).exists(), "the evidence is left alone");
}
