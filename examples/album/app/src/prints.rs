//! Orders of prints, for the api's clients: it says whether there is such a photo, shipping does the
//! rest.

use crate::http::{Failure, REQUEST_ID};
use crate::orders::Wish;
use crate::shipping::IDEMPOTENCY_KEY;
use crate::{Result, log};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reqwest::{Client, Url};
use serde::Deserialize;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);

const NOT_HERE: Failure = Failure::Said(StatusCode::NOT_IMPLEMENTED, "prints cannot be ordered here");
const NO_ANSWER: Failure = Failure::Said(
    StatusCode::SERVICE_UNAVAILABLE,
    "shipping does not answer: send it again with the same idempotency-key",
);

/// What a client says of an order; which photo is in the path.
#[derive(Deserialize)]
pub struct Prints {
    copies: u32,
    address: String,
}

/// The subsystem that prints and sends.
#[derive(Clone)]
pub struct Shipping {
    http: Client,
    url: Option<Url>,
}

impl Shipping {
    /// Shipping at this URL, if there is one; nothing is sent yet.
    pub fn new(url: Option<Url>) -> Result<Self> {
        let http = Client::builder().connect_timeout(TIMEOUT).timeout(TIMEOUT).build()?;
        Ok(Shipping { http, url })
    }

    /// Orders prints. The client's key goes along: an order that is sent again stays one.
    pub async fn order(&self, photo: u64, prints: Prints, headers: &HeaderMap) -> Result<Response, Failure> {
        let Prints { copies, address } = prints;
        let body = serde_json::to_vec(&Wish { photo, copies, address })?;
        self.ask(Method::POST, "orders", headers, body).await
    }

    /// How far an order is.
    pub async fn show(&self, order: u64, headers: &HeaderMap) -> Result<Response, Failure> {
        self.ask(Method::GET, &format!("orders/{order}"), headers, Vec::new()).await
    }

    /// What shipping answers is the answer.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        body: Vec<u8>,
    ) -> Result<Response, Failure> {
        let url = self.url.as_ref().ok_or(NOT_HERE)?.join(path)?;
        let mut request = self.http.request(method, url).header(header::CONTENT_TYPE, "application/json");
        for name in [REQUEST_ID.as_str(), IDEMPOTENCY_KEY] {
            if let Some(value) = headers.get(name) {
                request = request.header(name, value);
            }
        }
        let answered = async {
            let response = request.body(body).send().await?;
            Ok::<_, reqwest::Error>((response.status(), response.bytes().await?))
        };
        match answered.await {
            Ok((status, body)) => {
                Ok((status, [(header::CONTENT_TYPE, "application/json")], body).into_response())
            }
            Err(error) => {
                log::error("no answer from shipping", &[("error", &error.to_string())]);
                Err(NO_ANSWER)
            }
        }
    }
}
