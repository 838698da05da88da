//! The oracle against one that is slow and obvious: each minute is looked at by itself.

use proptest::prelude::*;

use super::*;

fn zone(name: &str) -> TimeZone {
    super::zone(name).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn ticks(text: &str, dialect: Dialect, name: &str, from: &str, to: &str) -> Vec<String> {
    let schedule = Schedule::parse(text, dialect).unwrap();
    schedule.ticks(&zone(name), at(from), at(to)).iter().map(ToString::to_string).collect()
}

#[test]
fn names_ranges_lists_and_steps_are_read() {
    let found = ticks(
        "5-15/5,40 9 * jan-feb Mon",
        Dialect::Vixie,
        "UTC",
        "2026-01-05T00:00:00Z",
        "2026-01-06T00:00:00Z",
    );
    assert_eq!(
        found,
        ["2026-01-05T09:05:00Z", "2026-01-05T09:10:00Z", "2026-01-05T09:15:00Z", "2026-01-05T09:40:00Z"]
    );
}

#[test]
fn a_day_of_the_month_or_one_of_the_week_is_enough_when_both_are_said() {
    let found = ticks("0 0 13 * 5", Dialect::Vixie, "UTC", "2026-03-06T00:00:00Z", "2026-03-14T00:00:00Z");
    assert_eq!(found, ["2026-03-06T00:00:00Z", "2026-03-13T00:00:00Z"]);
    let found = ticks("0 0 13 * 5", Dialect::Vixie, "UTC", "2026-04-10T00:00:00Z", "2026-04-14T00:00:00Z");
    assert_eq!(found, ["2026-04-10T00:00:00Z", "2026-04-13T00:00:00Z"]);
}

#[test]
fn every_second_day_and_mondays_are_both_wanted_by_cron_and_either_by_kubernetes() {
    // The 2nd of March 2026 is a Monday, and an even day: cron wants odd ones that are Mondays.
    let during = ("2026-03-01T00:00:00Z", "2026-03-04T00:00:00Z");
    assert!(ticks("0 0 */2 * 1", Dialect::Vixie, "UTC", during.0, during.1).is_empty());
    let found = ticks("0 0 */2 * 1", Dialect::Kubernetes, "UTC", during.0, during.1);
    assert_eq!(found, ["2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z"]);
}

#[test]
fn what_spring_leaves_out_is_made_up_for_by_cron_and_skipped_by_kubernetes() {
    let during = ("2026-03-29T00:00:00Z", "2026-03-29T06:00:00Z");
    let berlin = "Europe/Berlin";
    assert_eq!(ticks("30 2 * * *", Dialect::Vixie, berlin, during.0, during.1), ["2026-03-29T01:00:00Z"]);
    assert!(ticks("30 2 * * *", Dialect::Kubernetes, berlin, during.0, during.1).is_empty());
    let of_a_wild_hour = ticks("30 * * * *", Dialect::Vixie, berlin, during.0, "2026-03-29T03:00:00Z");
    assert_eq!(of_a_wild_hour, ["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z", "2026-03-29T02:30:00Z"]);
}

#[test]
fn what_would_run_at_the_very_moment_of_the_change_runs_then() {
    // There is no two o'clock: the clock goes from before it to three.
    let during = ("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
    let found = |text| ticks(text, Dialect::Vixie, "Europe/Berlin", during.0, during.1);
    assert_eq!(found("0 2 * * *"), ["2026-03-29T01:00:00Z"]);
    assert_eq!(found("0 3 * * *"), ["2026-03-29T01:00:00Z"]);
    assert_eq!(found("0 2,3 * * *"), ["2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z"]);
}

#[test]
fn what_autumn_shows_twice_runs_once_by_cron_and_twice_by_kubernetes() {
    let during = ("2026-11-01T04:00:00Z", "2026-11-01T12:00:00Z");
    let york = "America/New_York";
    assert_eq!(ticks("30 1 * * *", Dialect::Vixie, york, during.0, during.1), ["2026-11-01T05:30:00Z"]);
    assert_eq!(
        ticks("30 1 * * *", Dialect::Kubernetes, york, during.0, during.1),
        ["2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"]
    );
}

#[test]
fn a_day_that_a_country_left_out_is_not_made_up_for() {
    // Samoa went over the date line, and had no 30th of December 2011.
    let found =
        ticks("0 9 30 12 *", Dialect::Vixie, "Pacific/Apia", "2011-12-28T00:00:00Z", "2012-01-02T00:00:00Z");
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn words_are_their_fields_and_hourly_counts_as_wild() {
    let during = ("2026-11-01T04:00:00Z", "2026-11-01T08:00:00Z");
    assert_eq!(ticks("@hourly", Dialect::Vixie, "America/New_York", during.0, during.1).len(), 4);
    assert_eq!(
        ticks("@daily", Dialect::Vixie, "America/New_York", during.0, during.1),
        ["2026-11-01T04:00:00Z"]
    );
    assert_eq!(
        Schedule::parse("@reboot", Dialect::Vixie).unwrap_err().to_string(),
        "`@reboot` is no time: write five fields, or @yearly, @monthly, @weekly, @daily or @hourly"
    );
}

#[test]
fn what_is_not_accepted_is_said_with_what_to_write() {
    for (text, dialect, message) in [
        (
            "* * *",
            Dialect::Vixie,
            "`* * *` has 3 fields, not five: minute, hour, day of the month, month, day of the week",
        ),
        (
            "60 * * * *",
            Dialect::Vixie,
            "`60` is no minute: 0 to 59, a range such as 0-59, or a step such as */2",
        ),
        (
            "* * * * mom",
            Dialect::Vixie,
            "`mom` is no day of the week: 0 to 7, a range such as 0-7, or a step such as */2",
        ),
        (
            "* 22-2 * * *",
            Dialect::Vixie,
            "`22-2` ends before it begins: write two ranges, separated by a comma",
        ),
        (
            "*/0 * * * *",
            Dialect::Vixie,
            "`*/0` is no minute: 0 to 59, a range such as 0-59, or a step such as */2",
        ),
        ("5/15 * * * *", Dialect::Vixie, "`5/15` is read differently by different programs: write 5-59/15"),
        ("0 0 * * 7", Dialect::Kubernetes, "`7` has 7 for Sunday, which Kubernetes refuses: write 0"),
        ("0 0 ? * *", Dialect::Vixie, "`?` is not known to crontab(5): write *"),
    ] {
        assert_eq!(Schedule::parse(text, dialect).unwrap_err().to_string(), message, "{text}");
    }
}

#[test]
fn the_two_disagree_about_the_nights_on_which_the_clock_changes() {
    let year = (at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
    let found = disagreements("30 2 * * *", &zone("Europe/Berlin"), year.0, year.1).unwrap();
    assert_eq!(
        found,
        [
            Disagreement { at: at("2026-03-29T01:00:00Z"), runs: Dialect::Vixie },
            Disagreement { at: at("2026-10-25T01:30:00Z"), runs: Dialect::Kubernetes },
        ]
    );
    assert!(disagreements("30 2 * * *", &zone("Asia/Tokyo"), year.0, year.1).unwrap().is_empty());
    assert!(disagreements("0 0 * * 7", &zone("Asia/Tokyo"), year.0, year.1).is_err());
}

/// Whether a field has a value: read again, in the plainest way.
fn has(field: &str, value: i16, names: &str) -> bool {
    let number = |text: &str| -> i16 {
        text.parse().unwrap_or_else(|_| i16::try_from(names.find(text).unwrap() / 3).unwrap())
    };
    field.split(',').any(|part| {
        let (spread, step) = part.split_once('/').map_or((part, 1), |(spread, step)| (spread, number(step)));
        match spread.split_once('-') {
            _ if spread == "*" => (value - i16::from(names.starts_with("---"))) % step == 0,
            Some((low, high)) => {
                value >= number(low) && value <= number(high) && (value - number(low)) % step == 0
            }
            None => value == number(spread),
        }
    })
}

/// Whether five fields have a local time. Both kinds of days begin with 1 where their names begin with dashes.
fn matches(text: &str, local: DateTime, dialect: Dialect) -> bool {
    let fields: Vec<&str> = text.split(' ').collect();
    let months = "---janfebmaraprmayjunjulaugsepoctnovdec";
    let week_day = i16::from(local.weekday().to_sunday_zero_offset());
    let in_month = has(fields[2], local.day().into(), "---");
    let in_week = has(fields[4], week_day, "sunmontuewedthufrisat")
        || week_day == 0
            && dialect == Dialect::Vixie
            && has(fields[4], 7, "sunmontuewedthufrisat")
            && fields[4] != "*";
    let any = |field: &str| match dialect {
        Dialect::Vixie => field.starts_with('*'),
        Dialect::Kubernetes => field.split(',').any(|part| part == "*"),
    };
    let day = if any(fields[2]) || any(fields[4]) { in_month && in_week } else { in_month || in_week };
    day && has(fields[0], local.minute().into(), "")
        && has(fields[1], local.hour().into(), "")
        && has(fields[3], local.month().into(), months)
}

/// What a daemon does that wakes up each minute. Vixie's keeps a virtual time that follows the clock: what has a fixed
/// time runs by the virtual one, which never goes back and leaves no minute out.
fn slowly(text: &str, dialect: Dialect, zone: &TimeZone, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    let fields: Vec<&str> = text.split(' ').collect();
    let fixed = dialect == Dialect::Vixie && !fields[0].starts_with('*') && !fields[1].starts_with('*');
    let mut found = Vec::new();
    let mut virtually = zone.to_datetime(from - 12.hours());
    let mut now = from - 12.hours();
    while now < to {
        let clock = zone.to_datetime(now);
        if !fixed {
            found.extend(matches(text, clock, dialect).then_some(now));
        } else {
            while virtually <= clock {
                found.extend(matches(text, virtually, dialect).then_some(now));
                virtually = virtually.checked_add(1.minute()).unwrap();
            }
        }
        now += 1.minute();
    }
    found.retain(|tick| *tick >= from);
    found
}

fn field(low: u8, high: u8, names: &'static [&'static str]) -> impl Strategy<Value = String> {
    let number = low..=high;
    let named = move |value: u8| {
        names.get(usize::from(value - low)).map_or_else(|| value.to_string(), |name| (*name).to_owned())
    };
    let range = (number.clone(), number.clone()).prop_map(|(one, other)| (one.min(other), one.max(other)));
    let part = prop_oneof![
        number.prop_map(named),
        range.clone().prop_map(|(low, high)| format!("{low}-{high}")),
        (range, 1..7).prop_map(|((low, high), step)| format!("{low}-{high}/{step}")),
    ];
    let parts = prop::collection::vec(part, 1..3).prop_map(|parts| parts.join(","));
    prop_oneof![3 => Just("*".to_owned()), 1 => (2..7).prop_map(|step| format!("*/{step}")), 4 => parts]
}

fn five() -> impl Strategy<Value = String> {
    let days = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"].as_slice();
    (field(0, 59, &[]), field(0, 5, &[]), field(1, 31, &[]), field(1, 12, &[]), field(0, 6, days))
        .prop_map(|(minute, hour, day, month, week)| format!("{minute} {hour} {day} {month} {week}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Days around the changes of the clock in zones that change it at different hours, by one hour or half of one.
    #[test]
    fn each_tick_is_one_that_a_daemon_would_find_minute_by_minute(
        text in five(),
        place in prop::sample::select(vec![
            ("Europe/Berlin", "2026-03-29T00:00:00Z"), ("Europe/Berlin", "2026-10-25T00:00:00Z"),
            ("America/New_York", "2026-03-08T00:00:00Z"), ("America/New_York", "2026-11-01T00:00:00Z"),
            ("Australia/Lord_Howe", "2026-04-04T10:00:00Z"), ("Australia/Lord_Howe", "2026-10-03T10:00:00Z"),
            ("America/Havana", "2026-03-08T00:00:00Z"), ("Asia/Tokyo", "2026-02-28T00:00:00Z"),
        ]),
        dialect in prop::sample::select(vec![Dialect::Vixie, Dialect::Kubernetes]),
    ) {
        let zone = zone(place.0);
        let (from, to) = (at(place.1) - 6.hours(), at(place.1) + 30.hours());
        let found = Schedule::parse(&text, dialect).unwrap().ticks(&zone, from, to);
        prop_assert_eq!(found, slowly(&text, dialect, &zone, from, to), "{} {:?} {}", text, dialect, place.0);
    }
}

#[test]
fn the_next_time_follows_the_clock_over_its_changes() {
    let daily = Schedule::parse("30 2 * * *", Dialect::Kubernetes).unwrap();
    let next = |after| daily.next(&zone("Europe/Berlin"), at(after)).unwrap().to_string();
    // In spring there is no half past two: the day is left out.
    assert_eq!(next("2026-03-28T01:30:00Z"), "2026-03-30T00:30:00Z");
    // In autumn there are two.
    assert_eq!(next("2026-10-25T00:00:00Z"), "2026-10-25T00:30:00Z");
    assert_eq!(next("2026-10-25T00:30:00Z"), "2026-10-25T01:30:00Z");
    let leap = Schedule::parse("0 0 29 2 *", Dialect::Kubernetes).unwrap();
    assert_eq!(leap.next(&zone("UTC"), at("2026-01-01T00:00:00Z")), Some(at("2028-02-29T00:00:00Z")));
    let never = Schedule::parse("0 0 30 2 *", Dialect::Kubernetes).unwrap();
    assert_eq!(never.next(&zone("UTC"), at("2026-01-01T00:00:00Z")), None);
}

#[test]
fn the_latest_time_is_the_last_of_those_that_were_missed() {
    let minutely = Schedule::parse("* * * * *", Dialect::Kubernetes).unwrap();
    let latest = |after, until| minutely.latest(&zone("UTC"), at(after), at(until));
    assert_eq!(latest("2025-01-01T00:00:00Z", "2026-01-01T00:00:59Z"), Some(at("2026-01-01T00:00:00Z")));
    assert_eq!(latest("2026-01-01T00:00:00Z", "2026-01-01T00:00:59Z"), None, "that one was had");
    assert_eq!(latest("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"), Some(at("2026-01-01T00:01:00Z")));
    assert_eq!(latest("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"), None, "a clock that was set back");
    let monthly = Schedule::parse("@monthly", Dialect::Kubernetes).unwrap();
    let found = monthly.latest(&zone("UTC"), at("2026-01-20T00:00:00Z"), at("2026-03-20T00:00:00Z"));
    assert_eq!(found, Some(at("2026-03-01T00:00:00Z")));
    assert!(super::zone("Europe/Berln").is_none());
}
