//! Orders of prints and what was charged for them, in shipping's own database.

use crate::db::Db;
use crate::{Result, log};
use mysql_async::prelude::Queryable;
use mysql_async::{TxOpts, params};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What one copy costs, in yen.
const COPY: u32 = 300;
/// What sending costs, in yen, whatever is sent.
const POSTAGE: u32 = 1200;

/// What is to be printed, and where it goes.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub struct Wish {
    /// The photo's number.
    pub photo: u64,
    /// How many prints of it.
    pub copies: u32,
    /// Where they go.
    pub address: String,
}

impl Wish {
    /// What it costs, in yen.
    pub fn amount(&self) -> u32 {
        COPY.saturating_mul(self.copies).saturating_add(POSTAGE)
    }
}

/// A wish that was taken.
#[derive(Debug, Serialize)]
pub struct Order {
    /// Its number.
    pub id: u64,
    /// What is to be printed, and where it goes.
    #[serde(flatten)]
    pub wish: Wish,
    /// What it costs, in yen.
    pub amount: u32,
    /// `accepted`, then `shipped`.
    pub state: String,
    /// How often it was charged.
    pub charges: u64,
}

impl Db {
    /// Takes an order, or finds the one that was taken with the same key.
    pub async fn accept(&self, key: &str, wish: &Wish) -> Result<Order> {
        let mut connection = self.connection().await?;
        let insert = "INSERT INTO orders (idempotency_key, photo, copies, address, amount) \
                      VALUES (:key, :photo, :copies, :address, :amount) \
                      ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id)";
        let values = params! {
            "key" => key,
            "photo" => wish.photo,
            "copies" => wish.copies,
            "address" => &wish.address,
            "amount" => wish.amount(),
        };
        connection.exec_drop(insert, values).await?;
        let id = connection.last_insert_id().ok_or("database: the order has no number")?;
        drop(connection);
        self.order(id).await?.ok_or_else(|| "database: the order is gone".into())
    }

    /// One order.
    pub async fn order(&self, id: u64) -> Result<Option<Order>> {
        let query = "SELECT id, photo, copies, address, amount, state, \
                     (SELECT COUNT(*) FROM charges WHERE order_id = orders.id) FROM orders WHERE id = ?";
        let row = self.connection().await?.exec_first(query, (id,)).await?;
        Ok(row.map(|(id, photo, copies, address, amount, state, charges)| Order {
            id,
            wish: Wish { photo, copies, address },
            amount,
            state,
            charges,
        }))
    }

    /// Charges an order, unless that was done within the time for which it is remembered; says whether.
    /// The lock on the order keeps two deliveries apart, on one instance or on two.
    pub async fn charge(&self, id: u64, memory: Duration) -> Result<bool> {
        let mut connection = self.connection().await?;
        let mut transaction = connection.start_transaction(TxOpts::default()).await?;
        let amount: Option<u32> =
            transaction.exec_first("SELECT amount FROM orders WHERE id = ? FOR UPDATE", (id,)).await?;
        let amount = amount.ok_or("there is no such order")?;
        let query =
            "SELECT COUNT(*) FROM charges WHERE order_id = ? AND at > NOW(6) - INTERVAL ? MICROSECOND";
        let charged: Option<u64> =
            transaction.exec_first(query, (id, u64::try_from(memory.as_micros())?)).await?;
        let due = charged.unwrap_or(0) == 0;
        if due {
            let insert = "INSERT INTO charges (order_id, amount, instance) VALUES (?, ?, ?)";
            transaction.exec_drop(insert, (id, amount, log::instance())).await?;
        }
        transaction.commit().await?;
        Ok(due)
    }

    /// The prints are on their way.
    pub async fn shipped(&self, id: u64) -> Result<()> {
        Ok(self
            .connection()
            .await?
            .exec_drop("UPDATE orders SET state = 'shipped' WHERE id = ?", (id,))
            .await?)
    }
}
