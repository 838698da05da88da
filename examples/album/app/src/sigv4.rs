//! AWS Signature Version 4: the two forms that this application needs.

use crate::clock;
use hmac::{Hmac, Mac};
use reqwest::Url;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::time::{Duration, SystemTime};

/// What proves who is asking.
#[derive(Clone)]
pub struct Credentials {
    /// Its public half.
    pub access_key: String,
    /// Its secret half.
    pub secret_key: String,
    /// Goes with temporary credentials.
    pub session_token: Option<String>,
}

/// Shows the public half only.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.debug_struct("Credentials").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// Signs requests to one region.
#[derive(Clone, Debug)]
pub struct Signer {
    /// In whose name.
    pub credentials: Credentials,
    /// For which region.
    pub region: String,
}

impl Signer {
    /// The headers that authorise a request with this body; `extra` headers are signed too and
    /// have to be sent as they are.
    pub fn headers(
        &self,
        service: &str,
        method: &str,
        url: &Url,
        extra: &[(&str, &str)],
        body: &[u8],
        now: SystemTime,
    ) -> Vec<(String, String)> {
        let time = amz_time(now);
        let payload = digest(body);
        let mut headers: Vec<(String, String)> =
            extra.iter().map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
        headers.push(("x-amz-content-sha256".into(), payload.clone()));
        headers.push(("x-amz-date".into(), time.clone()));
        if let Some(token) = &self.credentials.session_token {
            headers.push(("x-amz-security-token".into(), token.clone()));
        }

        let mut signed = headers.clone();
        signed.push(("host".into(), host(url)));
        signed.sort();
        let names = signed.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
        let lines: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let query = canonical_query(url.query_pairs().into_owned().collect());
        let request = format!("{method}\n{}\n{query}\n{lines}\n{names}\n{payload}", url.path());

        let scope = self.scope(service, &time);
        let signature = self.signature(service, &time, &scope, &request);
        let access_key = &self.credentials.access_key;
        headers.push((
            "authorization".into(),
            format!(
                "AWS4-HMAC-SHA256 Credential={access_key}/{scope},SignedHeaders={names},Signature={signature}"
            ),
        ));
        headers
    }

    /// A URL that authorises whoever holds it, until it expires.
    pub fn presign(&self, service: &str, method: &str, url: &Url, expires: Duration, now: SystemTime) -> Url {
        let time = amz_time(now);
        let scope = self.scope(service, &time);
        let mut pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let mut add = |name: &str, value: String| pairs.push((name.to_owned(), value));
        add("X-Amz-Algorithm", "AWS4-HMAC-SHA256".into());
        add("X-Amz-Credential", format!("{}/{scope}", self.credentials.access_key));
        add("X-Amz-Date", time.clone());
        add("X-Amz-Expires", expires.as_secs().to_string());
        add("X-Amz-SignedHeaders", "host".into());
        if let Some(token) = &self.credentials.session_token {
            add("X-Amz-Security-Token", token.clone());
        }
        let query = canonical_query(pairs);
        let host = host(url);
        let request = format!("{method}\n{}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD", url.path());
        let signature = self.signature(service, &time, &scope, &request);
        let mut signed = url.clone();
        signed.set_query(Some(&format!("{query}&X-Amz-Signature={signature}")));
        signed
    }

    fn scope(&self, service: &str, time: &str) -> String {
        format!("{}/{}/{service}/aws4_request", &time[..8], self.region)
    }

    fn signature(&self, service: &str, time: &str, scope: &str, request: &str) -> String {
        let request = digest(request.as_bytes());
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{request}");
        let secret = format!("AWS4{}", self.credentials.secret_key);
        let key = [&time[..8], &self.region, service, "aws4_request"]
            .iter()
            .fold(secret.into_bytes(), |key, part| hmac(&key, part.as_bytes()));
        hex(&hmac(&key, text.as_bytes()))
    }
}

/// The SHA-256 of something, in hexadecimal.
pub fn digest(data: &[u8]) -> String {
    hex(&Sha256::digest(data))
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    #[allow(clippy::expect_used)] // HMAC is defined for keys of any length
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn canonical_query(pairs: Vec<(String, String)>) -> String {
    let mut pairs: Vec<_> =
        pairs.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    pairs.sort();
    pairs.join("&")
}

fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(byte.into()),
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
        escaped
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `20130524T000000Z`.
fn amz_time(now: SystemTime) -> String {
    let clock::Utc { year, month, day, hour, minute, second, .. } = clock::utc(now);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of AWS's own documentation.
    fn example() -> (Signer, Url, SystemTime) {
        let credentials = Credentials {
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        };
        let url = Url::parse("https://examplebucket.s3.amazonaws.com/test.txt").unwrap();
        (
            Signer { credentials, region: "us-east-1".into() },
            url,
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_369_353_600),
        )
    }

    #[test]
    fn presigned_url() {
        let (signer, url, now) = example();
        let url = signer.presign("s3", "GET", &url, Duration::from_secs(86_400), now);
        let signature = url.query_pairs().find(|(name, _)| name == "X-Amz-Signature").unwrap().1;
        assert_eq!(signature, "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
    }

    #[test]
    fn signed_headers() {
        let (signer, url, now) = example();
        let headers = signer.headers("s3", "GET", &url, &[("Range", "bytes=0-9")], b"", now);
        let (_, authorization) = headers.iter().find(|(name, _)| name == "authorization").unwrap();
        assert!(authorization.contains("SignedHeaders=host;range;x-amz-content-sha256;x-amz-date"));
        assert!(authorization.ends_with("f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"));
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert!(!format!("{:?}", example().0).contains("wJalr"));
    }
}
