use std::process::Stdio;

use envctl_rehearse::evidence::{Rehearsal, SigningKey, sign};

use crate::programs::script;
use crate::sample::rehearsal;

/// What another implementation of DSSE says of a file: the payload if it takes it.
fn verified_elsewhere(file: &[u8], public: &str) -> Option<Option<serde_json::Value>> {
    let mut verify = script("verify_dsse.py", &["securesystemslib.dsse", "cryptography"])?;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rehearsal.intoto.jsonl");
    std::fs::write(&path, file).unwrap();
    let output = verify.arg(path).arg(public).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => Some(Some(serde_json::from_slice(&output.stdout).unwrap())),
        Some(3) => Some(None),
        _ => panic!("{said}"),
    }
}

#[test]
fn another_implementation_of_dsse_takes_what_was_signed_and_nothing_else() {
    let key = SigningKey::generate().unwrap();
    let file = sign(&rehearsal(), &key).unwrap();
    let public = key.public().base64();
    let Some(payload) = verified_elsewhere(&file, &public) else { return };
    let payload = payload.expect("it refused what was signed");
    assert_eq!(payload["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(payload["predicateType"], "https://envctl.dev/rehearsal/v1");
    assert_eq!(payload["subject"][0]["digest"]["sha256"], rehearsal().plan.digest.hex());
    let predicate: Rehearsal = serde_json::from_value(payload["predicate"].clone()).unwrap();
    assert_eq!(predicate, rehearsal());

    let other = SigningKey::generate().unwrap().public().base64();
    assert_eq!(verified_elsewhere(&file, &other), Some(None), "somebody else's key");
    let changed = String::from_utf8(file).unwrap().replacen("ICJ", "ICK", 1).replacen("eyJ", "eyK", 1);
    assert_eq!(verified_elsewhere(changed.as_bytes(), &public), Some(None), "another payload");
}
