//! Reads a group of variables, and collects what is wrong with them.

use super::Lookup;
use crate::Result;
use crate::credentials::{Source, WebIdentity};
use crate::sigv4::Credentials;
use reqwest::Url;
use std::str::FromStr;
use std::time::Duration;

/// Collects what is wrong while a whole group of variables is read.
pub struct Reader<'a> {
    lookup: Lookup<'a>,
    missing: Vec<&'static str>,
    wrong: Vec<String>,
}

impl<'a> Reader<'a> {
    /// Nothing read yet.
    pub fn new(lookup: Lookup<'a>) -> Self {
        Reader { lookup, missing: Vec::new(), wrong: Vec::new() }
    }

    /// A variable that may be absent. An empty one counts as absent: templates write one for a
    /// value that is not set.
    pub fn optional<T: FromStr>(&mut self, name: &'static str) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        let value = (self.lookup)(name).filter(|value| !value.is_empty())?;
        // The value itself is not shown: it may be a secret in the wrong place.
        value.parse().map_err(|error| self.wrong.push(format!("{name}: {error}"))).ok()
    }

    /// A variable that has to be there; none is a problem that is noted.
    pub fn parsed<T: FromStr>(&mut self, name: &'static str) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        let problems = self.wrong.len();
        let value = self.optional(name);
        if value.is_none() && self.wrong.len() == problems {
            self.missing.push(name);
        }
        value
    }

    /// A text that has to be there.
    pub fn required(&mut self, name: &'static str) -> String {
        self.parsed(name).unwrap_or_default()
    }

    /// A variable with a default.
    pub fn or<T: FromStr>(&mut self, name: &'static str, default: T) -> T
    where
        T::Err: std::fmt::Display,
    {
        self.optional(name).unwrap_or(default)
    }

    /// Who asks AWS; none is a problem that is noted.
    pub fn credentials(&mut self, region: &str, endpoint: Option<&Url>) -> Option<Source> {
        let role: Option<String> = self.optional("AWS_ROLE_ARN");
        let key: Option<String> = self.optional("AWS_ACCESS_KEY_ID");
        if let (Some(role), None) = (role, &key) {
            let token_file = self.required("AWS_WEB_IDENTITY_TOKEN_FILE").into();
            let session = self.or("HOSTNAME", "album".to_owned());
            let service = format!("https://sts.{region}.amazonaws.com/");
            let endpoint = endpoint.cloned().or_else(|| Url::parse(&service).ok())?;
            return Some(Source::WebIdentity(WebIdentity { role, token_file, session, endpoint }));
        }
        Some(Source::Keys(Credentials {
            access_key: self.required("AWS_ACCESS_KEY_ID"),
            secret_key: self.required("AWS_SECRET_ACCESS_KEY"),
            session_token: self.optional("AWS_SESSION_TOKEN"),
        }))
    }

    /// Seconds, also with a fraction.
    pub fn seconds(&mut self, name: &'static str, default: f64) -> Duration {
        let seconds = self.or(name, default);
        Duration::try_from_secs_f64(seconds).unwrap_or_else(|error| {
            self.wrong.push(format!("{name}: {error}"));
            Duration::ZERO
        })
    }

    /// All that is wrong, as one message.
    pub fn failure(&self) -> crate::Error {
        let mut problems = self.wrong.clone();
        if !self.missing.is_empty() {
            problems.insert(0, format!("missing environment variables: {}", self.missing.join(", ")));
        }
        problems.join("; ").into()
    }

    /// The value, unless anything is wrong.
    pub fn finish<T>(self, value: T) -> Result<T> {
        if self.missing.is_empty() && self.wrong.is_empty() { Ok(value) } else { Err(self.failure()) }
    }
}
