//! Requests and limits.

use envctl_model::finding::Severity;

use crate::compose::Service;
use crate::cursor::{Cursor, Remark};
use crate::input::EngineFacts;

/// The Engine's own minimum.
const MINIMUM_MEMORY: u64 = 6 << 20;

pub(crate) fn apply(container: &Cursor<'_>, engine: &EngineFacts, service: &mut Service) {
    let resources = container.get("resources");
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    for (name, field) in limits.entries() {
        match name {
            "cpu" => service.cpus = cpus(&field, engine),
            "memory" => service.mem_limit = memory(&field),
            _ => other(name, &field),
        }
    }
    // Kubernetes gives pods no swap; Docker doubles the limit unless told.
    service.memswap_limit = service.mem_limit;
    for (name, field) in requests.entries() {
        match name {
            "cpu" => {
                let shares = field.quantity().map(|cpu| cpu.ceil_millis().saturating_mul(1024) / 1000);
                service.cpu_shares =
                    shares.map(|shares| u64::try_from(shares.clamp(2, 262_144)).unwrap_or(2));
            }
            "memory" => {
                let reservation = memory(&field).filter(|bytes| *bytes > 0);
                // More than the limit is refused by the API server and the Engine alike.
                service.mem_reservation =
                    reservation.map(|bytes| bytes.min(service.mem_limit.unwrap_or(u64::MAX)));
            }
            _ => other(name, &field),
        }
    }
}

fn cpus(field: &Cursor<'_>, engine: &EngineFacts) -> Option<f64> {
    let millis = field.quantity()?.ceil_millis();
    if millis <= 0 {
        return None;
    }
    // Thousands of processors are far below where f64 loses thousandths.
    let wanted = f64::from(u32::try_from(millis).unwrap_or(u32::MAX)) / 1000.0;
    if wanted > engine.cpus {
        field.remark(Remark::approximated(
            Severity::Info,
            "cpu-limit",
            "is more than this machine has: all of its processors can be used",
        ));
        return None;
    }
    if wanted < 0.01 {
        field.remark(Remark::approximated(
            Severity::Info,
            "cpu-limit",
            "is raised to 10m, the Engine's minimum",
        ));
        return Some(0.01);
    }
    Some(wanted)
}

fn memory(field: &Cursor<'_>) -> Option<u64> {
    let bytes = field.quantity()?.ceil_units();
    if bytes <= 0 {
        return None;
    }
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX).min(i64::MAX.unsigned_abs());
    if bytes < MINIMUM_MEMORY {
        field.remark(Remark::approximated(
            Severity::Info,
            "memory-limit",
            "is raised to 6 MiB, the Engine's minimum",
        ));
    }
    Some(bytes.max(MINIMUM_MEMORY))
}

fn other(name: &str, field: &Cursor<'_>) {
    field.take();
    let (severity, message) = match name {
        "ephemeral-storage" => (Severity::Info, "disk space is not limited".to_owned()),
        _ => (Severity::Major, format!("`{name}` is not provided")),
    };
    field.remark(Remark::dropped(severity, "resource", message));
}
