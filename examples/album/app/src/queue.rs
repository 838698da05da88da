//! A queue that delivers each message at least once.

use crate::Result;
use crate::aws::{Aws, REQUEST_TIMEOUT, Request};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

/// A queue.
#[derive(Clone)]
pub struct Queue {
    aws: Aws,
    url: Url,
}

/// A message that was received and is not yet deleted.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Message {
    /// What names this delivery.
    pub receipt_handle: String,
    /// What was sent.
    pub body: String,
    #[serde(default)]
    attributes: std::collections::HashMap<String, String>,
}

impl Message {
    /// How often it was delivered, this time included.
    pub fn deliveries(&self) -> u32 {
        self.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1)
    }
}

impl Queue {
    /// The queue of this URL; nothing is sent yet.
    pub fn new(aws: Aws, url: Url) -> Self {
        Queue { aws, url }
    }

    /// Puts something into the queue.
    pub async fn send(&self, body: &impl Serialize) -> Result<()> {
        let body = serde_json::to_string(body)?;
        self.sqs("SendMessage", json!({ "MessageBody": body }), REQUEST_TIMEOUT).await.map(drop)
    }

    /// Takes the next message, and keeps it from others for `visibility`; none after `wait`. The queue
    /// counts in whole seconds.
    pub async fn receive(&self, wait: Duration, visibility: Duration) -> Result<Option<Message>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            #[serde(default)]
            messages: Vec<Message>,
        }
        let request = json!({
            "MaxNumberOfMessages": 1,
            "WaitTimeSeconds": wait.as_secs(),
            "VisibilityTimeout": seconds(visibility),
            "AttributeNames": ["ApproximateReceiveCount"],
        });
        let answer = self.sqs("ReceiveMessage", request, wait + REQUEST_TIMEOUT).await?;
        Ok(serde_json::from_value::<Answer>(answer)?.messages.pop())
    }

    /// Gives a message back: it is delivered again after `delay`, or goes to the dead-letter queue.
    pub async fn give_back(&self, message: &Message, delay: Duration) -> Result<()> {
        let request = json!({ "ReceiptHandle": message.receipt_handle, "VisibilityTimeout": seconds(delay) });
        self.sqs("ChangeMessageVisibility", request, REQUEST_TIMEOUT).await.map(drop)
    }

    /// The job is done: nobody gets this message again.
    pub async fn done(&self, message: &Message) -> Result<()> {
        let request = json!({ "ReceiptHandle": message.receipt_handle });
        self.sqs("DeleteMessage", request, REQUEST_TIMEOUT).await.map(drop)
    }

    /// How many messages wait, and how many somebody has received and not deleted. The queue counts about
    /// right.
    pub async fn depth(&self) -> Result<(u64, u64)> {
        const NAMES: [&str; 2] = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
        let answer =
            self.sqs("GetQueueAttributes", json!({ "AttributeNames": NAMES }), REQUEST_TIMEOUT).await?;
        let [waiting, in_flight] = NAMES.map(|name| answer["Attributes"][name].as_str()?.parse().ok());
        waiting.zip(in_flight).ok_or_else(|| "the queue does not say how much waits".into())
    }

    /// Whether the queue is there and may be used.
    pub async fn check(&self) -> Result<()> {
        let request = json!({ "AttributeNames": ["QueueArn"] });
        self.sqs("GetQueueAttributes", request, REQUEST_TIMEOUT).await.map(drop)
    }

    async fn sqs(&self, action: &str, mut request: Value, timeout: Duration) -> Result<Value> {
        request["QueueUrl"] = self.url.as_str().into();
        let mut url = self.aws.endpoint().unwrap_or(&self.url).clone();
        url.set_path("/");
        let target = format!("AmazonSQS.{action}");
        let headers = &[("content-type", "application/x-amz-json-1.0"), ("x-amz-target", target.as_str())];
        let body = request.to_string().into_bytes();
        let request = Request { service: "sqs", method: "POST", url, headers, body, timeout };
        let answer = self.aws.send(request).await?.bytes().await?;
        // Some actions answer with nothing at all.
        Ok(if answer.is_empty() { Value::Null } else { serde_json::from_slice(&answer)? })
    }
}

/// Rounded up: a message never comes back too early.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_are_counted() {
        let message = json!({
            "ReceiptHandle": "r",
            "Body": "{\"photo\":7}",
            "Attributes": {"ApproximateReceiveCount": "3"},
        });
        let message: Message = serde_json::from_value(message).unwrap();
        assert_eq!((message.deliveries(), message.body.as_str()), (3, "{\"photo\":7}"));
    }

    #[test]
    fn a_part_of_a_second_is_a_whole_one() {
        let seconds = [0, 1, 1000, 1001].map(|milliseconds| seconds(Duration::from_millis(milliseconds)));
        assert_eq!(seconds, [0, 1, 1, 2]);
    }
}
