//! Prints by post: takes orders over HTTP, and works them off from a queue of its own. It knows photos
//! by their numbers only.

use crate::aws::Aws;
use crate::consume::{Outcome, Work, consume};
use crate::db::Db;
use crate::http::{Failure, serve};
use crate::orders::{Order, Wish};
use crate::queue::{Message, Queue};
use crate::shutdown::Shutdown;
use crate::{Result, config, log};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// The header by which an order that is sent again is known.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

#[derive(Clone)]
struct Counter {
    db: Db,
    queue: Queue,
}

/// An order to be worked off, as it travels through the queue.
#[derive(Deserialize, Serialize)]
struct Job {
    order: u64,
}

struct Dispatch {
    db: Db,
    memory: Duration,
    floor: Duration,
    patience: Duration,
}

/// Serves and works until asked to stop.
pub async fn run() -> Result<()> {
    let shutdown = Shutdown::listen()?;
    let db = Db::new(config::Database::from(&config::environment)?);
    let aws = Aws::new(config::Aws::from(&config::environment)?)?;
    let queue = Queue::new(aws, config::shipping_queue(&config::environment)?);
    let jobs = config::Jobs::from(&config::environment)?;
    let dispatch = Dispatch {
        db: db.clone(),
        memory: config::charge_memory(&config::environment)?,
        floor: config::Floors::from(&config::environment)?.job,
        patience: jobs.patience,
    };
    let routes = Router::new()
        .route("/orders", post(take))
        .route("/orders/{order}", get(show))
        .with_state(Counter { db: db.clone(), queue: queue.clone() });
    let work = async {
        consume(&queue, &jobs, shutdown.clone(), &dispatch).await;
        Ok(())
    };
    tokio::try_join!(serve("shipping", routes, &db, &shutdown), work)?;
    db.close().await
}

async fn take(
    State(counter): State<Counter>,
    headers: HeaderMap,
    Json(wish): Json<Wish>,
) -> Result<(StatusCode, Json<Order>), Failure> {
    let said = |message| Failure::Said(StatusCode::BAD_REQUEST, message);
    let key = headers.get(IDEMPOTENCY_KEY).and_then(|key| key.to_str().ok()).unwrap_or_default();
    if key.is_empty() || key.len() > 100 {
        return Err(said("an order needs a header idempotency-key of 1 to 100 characters"));
    }
    if !(1..=100).contains(&wish.copies) {
        return Err(said("1 to 100 copies can be ordered"));
    }
    if wish.address.trim().is_empty() || wish.address.chars().count() > 500 {
        return Err(said("an address has 1 to 500 characters"));
    }
    let order = counter.db.accept(key, &wish).await?;
    if order.wish != wish {
        let message = "another order was taken with this idempotency-key";
        return Err(Failure::Said(StatusCode::CONFLICT, message));
    }
    // Also when it comes again: what was taken may never have reached the queue, and two messages are
    // one charge.
    if order.state == "accepted" {
        counter.queue.send(&Job { order: order.id }).await?;
    }
    Ok((StatusCode::ACCEPTED, Json(order)))
}

async fn show(State(counter): State<Counter>, Path(order): Path<u64>) -> Result<Json<Order>, Failure> {
    let missing = Failure::Said(StatusCode::NOT_FOUND, "there is no such order");
    Ok(Json(counter.db.order(order).await?.ok_or(missing)?))
}

impl Work for Dispatch {
    async fn attempt(&self, message: &Message, mut stop: Shutdown) -> Result<Outcome> {
        let started = Instant::now();
        let Job { order } = serde_json::from_str(&message.body)?;
        if self.db.charge(order, self.memory).await? {
            log::info("charged", &[("order", &order.to_string()), ("instance", log::instance())]);
        }
        tokio::select! {
            () = tokio::time::sleep(self.floor.saturating_sub(started.elapsed())) => {}
            () = stop.overdue(self.patience) => {}
        }
        self.db.shipped(order).await?;
        Ok(Outcome::Done)
    }

    /// The order stays accepted, and its message ends in the dead-letter queue.
    async fn failed(&self, _: &Message, _: &str) {}
}
