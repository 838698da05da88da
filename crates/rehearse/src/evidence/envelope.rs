//! The envelope: DSSE version 1, with one signature, as one line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::key::{KeyError, SigningKey};
use super::refusal::Refusal;
use super::statement::Rehearsal;

/// The media type of in-toto Statements.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Evidence that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key cannot sign.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The rehearsal cannot be written down.
    #[error("the evidence cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// As it is written. The order of the fields is part of the form.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    payload: String,
    payload_type: String,
    signatures: Vec<WireSignature>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    keyid: Digest,
    sig: String,
}

impl Wire {
    fn line(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }
}

/// An envelope of the right form. Nothing is said yet about its signature.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) payload: Vec<u8>,
    pub(super) key: Digest,
    pub(super) signature: Vec<u8>,
}

/// Signs what came of a rehearsal: the content of a file `*.intoto.jsonl`.
///
/// # Errors
/// When the key refuses.
pub fn sign(rehearsal: &Rehearsal, key: &SigningKey) -> Result<Vec<u8>, SignError> {
    let payload = rehearsal.statement()?;
    Ok(seal(&payload, key)?.line()?)
}

fn seal(payload: &[u8], key: &SigningKey) -> Result<Wire, KeyError> {
    let sig = BASE64.encode(key.sign(&pre_authentication_encoding(payload))?);
    let signatures = vec![WireSignature { keyid: key.public().id(), sig }];
    Ok(Wire { payload: BASE64.encode(payload), payload_type: PAYLOAD_TYPE.to_owned(), signatures })
}

/// What is signed: DSSE's PAE, in which type and payload cannot be taken for each other.
fn pre_authentication_encoding(payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

impl Envelope {
    /// Takes a file apart. Base64, order and white space must be those that [`sign`] writes: then no byte of the
    /// file can change without being noticed, and no two files are the same evidence.
    pub(super) fn parse(file: &[u8]) -> Result<Self, Refusal> {
        let malformed = |what: &str| Refusal::Malformed { what: what.to_owned() };
        let Some((b'\n', line)) = file.split_last() else {
            return Err(Refusal::Truncated { bytes: file.len() });
        };
        if line.contains(&b'\n') {
            return Err(malformed("it has more than one line"));
        }
        let wire: Wire = serde_json::from_slice(line).map_err(|error| malformed(&error.to_string()))?;
        if wire.payload_type != PAYLOAD_TYPE {
            return Err(Refusal::PayloadType { found: wire.payload_type });
        }
        let [WireSignature { keyid, sig }] = &wire.signatures[..] else {
            return Err(malformed(&format!("it has {} signatures instead of one", wire.signatures.len())));
        };
        let decode = |text: &str, what| BASE64.decode(text).map_err(|_| malformed(what));
        let envelope = Self {
            payload: decode(&wire.payload, "its payload is not base64")?,
            key: *keyid,
            signature: decode(sig, "its signature is not base64")?,
        };
        if wire.line().ok().as_deref() != Some(file) {
            return Err(Refusal::NotCanonical { what: "the envelope" });
        }
        Ok(envelope)
    }

    /// The message that the signature is of.
    pub(super) fn message(&self) -> Vec<u8> {
        pre_authentication_encoding(&self.payload)
    }

    /// What it says, if it says it in canonical form.
    pub(super) fn rehearsal(&self) -> Result<Rehearsal, Refusal> {
        let rehearsal =
            Rehearsal::from_statement(&self.payload).map_err(|what| Refusal::Malformed { what })?;
        if rehearsal.statement().ok().as_deref() != Some(&self.payload[..]) {
            return Err(Refusal::NotCanonical { what: "the statement" });
        }
        Ok(rehearsal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::sample::rehearsal;

    fn refusal(wire: &Wire) -> Refusal {
        Envelope::parse(&wire.line().unwrap()).and_then(|envelope| envelope.rehearsal()).unwrap_err()
    }

    #[test]
    fn the_encoding_that_is_signed_is_that_of_dsse() {
        // The type's length, the payload's length, and nothing between but single spaces.
        assert_eq!(pre_authentication_encoding(b"hi\n"), b"DSSEv1 28 application/vnd.in-toto+json 3 hi\n");
    }

    #[test]
    fn what_is_signed_is_read_back() {
        let key = SigningKey::generate().unwrap();
        let file = sign(&rehearsal(), &key).unwrap();
        let envelope = Envelope::parse(&file).unwrap();
        assert_eq!(envelope.rehearsal().unwrap(), rehearsal());
        assert_eq!(envelope.key, key.public().id());
    }

    #[test]
    fn a_payload_in_another_form_is_refused_although_it_is_signed() {
        let key = SigningKey::generate().unwrap();
        let text = String::from_utf8(rehearsal().statement().unwrap()).unwrap();
        let twice = text.replacen(r#""verdict":"#, r#""verdict":"failed","verdict":"#, 1);
        let more = text.replacen(r#""_type":"#, r#""_more":1,"_type":"#, 1);
        for other in [twice, more, text.replacen(':', ": ", 1), format!("{text} ")] {
            assert_ne!(other, text);
            let refused = refusal(&seal(other.as_bytes(), &key).unwrap());
            assert!(matches!(refused, Refusal::NotCanonical { what: "the statement" }), "{refused}: {other}");
        }
        let field = text.replacen(r#""predicate":{"#, r#""predicate":{"approved":true,"#, 1);
        assert!(matches!(refusal(&seal(field.as_bytes(), &key).unwrap()), Refusal::Malformed { .. }));
        let kind = text.replacen("rehearsal/v1", "rehearsal/v2", 1);
        let said = refusal(&seal(kind.as_bytes(), &key).unwrap()).to_string();
        assert!(said.contains("https://envctl.dev/rehearsal/v2"), "{said}");
    }

    #[test]
    fn an_envelope_of_another_form_is_refused() {
        let key = SigningKey::generate().unwrap();
        let seal = || seal(&rehearsal().statement().unwrap(), &key).unwrap();
        let line = String::from_utf8(seal().line().unwrap()).unwrap();
        let parse = |text: &str| Envelope::parse(text.as_bytes()).unwrap_err();

        assert!(matches!(parse(""), Refusal::Truncated { bytes: 0 }));
        for end in [1, line.len() / 2, line.len() - 1] {
            assert!(matches!(parse(&line[..end]), Refusal::Truncated { .. }), "{end}");
        }
        assert!(parse(&format!("{line}{line}")).to_string().contains("more than one line"));
        assert!(matches!(parse(&format!(" {line}")), Refusal::NotCanonical { what: "the envelope" }));

        let mut other = seal();
        other.payload_type = "text/plain".to_owned();
        assert!(matches!(refusal(&other), Refusal::PayloadType { found } if found == "text/plain"));

        let mut none = seal();
        none.signatures.clear();
        assert!(refusal(&none).to_string().contains("0 signatures"));
        let mut two = seal();
        two.signatures.extend(seal().signatures);
        assert!(refusal(&two).to_string().contains("2 signatures"));
    }
}
