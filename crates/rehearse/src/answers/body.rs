//! Bodies of answers: JSON by its members, text by its lines, all else by length and digest.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::alike::Alike;
use super::json;
use super::shown::ABSENT;
use crate::evidence::Digest;

/// The largest body that is looked into, in bytes: 4 MiB. Of larger ones only length and digest are compared.
const LOOKED_INTO: usize = 4 << 20;

/// A body that was read to its end.
#[derive(Debug)]
pub(super) struct Body {
    length: u64,
    digest: Digest,
    content: Content,
}

/// What a body is, by what it looks like: its declared type is compared by itself.
#[derive(Debug)]
enum Content {
    Json(Value),
    Text(String),
    Opaque,
}

impl Content {
    fn of(bytes: &[u8]) -> Self {
        if let Ok(value @ (Value::Object(_) | Value::Array(_))) = serde_json::from_slice(bytes) {
            return Self::Json(value);
        }
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Self::Text(text.to_owned()),
            _ => Self::Opaque,
        }
    }
}

impl Body {
    /// Reads a body to its end.
    pub(super) async fn read(mut body: Incoming) -> hyper::Result<Self> {
        let (mut length, mut digest, mut kept) = (0, Sha256::new(), BytesMut::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            length += data.len() as u64;
            digest.update(&data);
            if length <= LOOKED_INTO as u64 {
                kept.extend_from_slice(&data);
            }
        }
        let whole: Option<Bytes> = (length == kept.len() as u64).then(|| kept.freeze());
        let content = whole.map_or(Content::Opaque, |bytes| Content::of(&bytes));
        Ok(Self { length, digest: Digest::from_bytes(digest.finalize().into()), content })
    }

    /// Whether they are the same bytes.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    fn summary(&self) -> String {
        format!("{} bytes, {}", self.length, self.digest)
    }
}

pub(super) fn alike(found: &mut Alike, bodies: [&Body; 3]) {
    match bodies.map(|body| &body.content) {
        [Content::Json(old), Content::Json(again), Content::Json(new)] => json::alike(found, old, again, new),
        [Content::Text(old), Content::Text(again), Content::Text(new)] => text(found, old, again, new),
        _ => {
            let summaries = bodies.map(Body::summary);
            found.place("body".to_owned(), summaries.each_ref().map(|summary| Some(summary.as_str())));
        }
    }
}

/// The first line that differs, of those on which the old side answers like itself.
fn text(found: &mut Alike, old: &str, again: &str, new: &str) {
    let count = old.lines().count();
    if count != again.lines().count() {
        return found.volatile("body".to_owned());
    }
    let (mut repeated, mut others) = (again.lines(), new.lines());
    for (number, line) in old.lines().enumerate() {
        let place = || format!("body line {}", number + 1);
        let (again, new) = (repeated.next(), others.next());
        if again != Some(line) {
            found.volatile(place());
        } else if new != Some(line) {
            return found.differ(place(), line, new.unwrap_or(ABSENT));
        }
    }
    if let Some(more) = others.next() {
        found.differ(format!("body line {}", count + 1), ABSENT, more);
    }
}
