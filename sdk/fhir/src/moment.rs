//! FHIR dates and times, and milliseconds since the Unix epoch.

use fhirkit::Primitive;
use fhirkit::r4::Period as FhirPeriod;
use stela_consent::Period;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::util::{days_in_month, days_in_year};
use time::{Date, Duration, Month, OffsetDateTime, UtcOffset};

use crate::code::{no_extension, optional_text};
use crate::refusal::{Read, Reason};

const DAY_MS: i128 = 24 * 60 * 60 * 1000;

/// A moment after the year 9999, which FHIR cannot write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("FHIR has no dates after the year 9999")]
pub struct BeyondDates;

/// The moment as an `instant` in UTC, to the millisecond.
pub(crate) fn instant(time_ms: u64) -> Result<Primitive<String>, BeyondDates> {
    write(i128::from(time_ms)).map(Into::into)
}

fn write(time_ms: i128) -> Result<String, BeyondDates> {
    let form =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp_nanos(time_ms * 1_000_000)
        .ok()
        .and_then(|moment| moment.format(form).ok())
        .ok_or(BeyondDates)
}

/// FHIR's periods include their end to its precision.
pub(crate) fn write_period(period: &Period) -> Result<FhirPeriod, BeyondDates> {
    let start = period.start_ms().map(instant).transpose()?;
    let last = |end: u64| write(i128::from(end) - 1).map(Primitive::from);
    Ok(FhirPeriod {
        start,
        end: period.end_ms().map(last).transpose()?,
        ..FhirPeriod::default()
    })
}

/// A period, or nothing when it covers all time since the epoch. Dates without a time are those of
/// a place whose clocks are `zone` ahead of UTC.
pub(crate) fn read_period(
    period: &Option<FhirPeriod>,
    zone: UtcOffset,
    element: &str,
) -> Read<Option<Period>> {
    let Some(period) = period else {
        return Ok(None);
    };
    no_extension(&period.extension, element)?;
    let side = |value, name: &str| {
        let element = format!("{element}.{name}");
        optional_text(value, &element)?
            .map(|text| span(text, zone).ok_or_else(|| Reason::Time.at(&element)))
            .transpose()
    };
    let start = side(&period.start, "start")?.map(|(first, _)| first);
    let end = side(&period.end, "end")?.map(|(_, after)| after);
    // Nothing is asked for before the epoch: a period that starts earlier has no start, and one
    // that ends earlier is over from the beginning.
    let start_ms = start.and_then(|ms| u64::try_from(ms).ok());
    let end_ms = end.map(|ms| u64::try_from(ms).unwrap_or(0));
    if start_ms.is_none() && end_ms.is_none() {
        return Ok(None);
    }
    Period::new(start_ms, end_ms)
        .map(Some)
        .map_err(|_| Reason::Time.at(element))
}

/// The first millisecond of what a `dateTime` names, and the first one after it.
fn span(text: &str, zone: UtcOffset) -> Option<(i128, i128)> {
    if text.contains('T') {
        let first = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        let unit = if text.contains('.') {
            Duration::MILLISECOND
        } else {
            Duration::SECOND
        };
        return Some((millis(first), millis(first.checked_add(unit)?)));
    }
    let mut numbers = text.split('-').map(str::parse::<u16>);
    let year = i32::from(numbers.next()?.ok()?);
    let month = numbers.next().transpose().ok()?;
    let day = numbers.next().transpose().ok()?;
    let named = |number: Option<u16>| Month::try_from(u8::try_from(number.unwrap_or(1)).ok()?).ok();
    let first_month = named(month)?;
    let first_day = u8::try_from(day.unwrap_or(1)).ok()?;
    let first = Date::from_calendar_date(year, first_month, first_day).ok()?;
    let days = match (month, day) {
        (Some(_), Some(_)) => 1,
        (Some(_), None) => days_in_month(first_month, year).into(),
        (None, _) => days_in_year(year),
    };
    let first_ms = millis(first.midnight().assume_offset(zone));
    Some((first_ms, first_ms + i128::from(days) * DAY_MS))
}

/// A moment with its time.
pub(crate) fn read_instant(moment: &Primitive<String>) -> Option<u64> {
    let text = moment.value.as_deref().filter(|text| text.contains('T'))?;
    let (first, _) = span(text, UtcOffset::UTC)?;
    u64::try_from(first)
        .ok()
        .filter(|_| moment.extension.is_empty())
}

fn millis(moment: OffsetDateTime) -> i128 {
    moment.unix_timestamp_nanos().div_euclid(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i128 = DAY_MS / 24;

    #[test]
    fn a_date_spans_what_it_leaves_open() {
        let utc = |text| span(text, UtcOffset::UTC);
        let days = |text| utc(text).map(|(first, after)| (after - first) / DAY_MS);
        assert_eq!(days("2016"), Some(366));
        assert_eq!(days("2015-02"), Some(28));
        assert_eq!(days("2015-12"), Some(31));
        assert_eq!(days("2015-02-01"), Some(1));
        assert_eq!(utc("1970-01-01T00:00:01Z"), Some((1000, 2000)));
        assert_eq!(utc("1970-01-01T00:00:01.5Z"), Some((1500, 1501)));
        assert_eq!(utc("1970-01-01T01:00:00+01:00"), Some((0, 1000)));
        assert_eq!(
            utc("1964-01-01"),
            Some((-189_388_800_000, -189_302_400_000))
        );
        let east = UtcOffset::from_hms(2, 0, 0).unwrap();
        assert_eq!(span("1970-01-01", east), Some((-2 * HOUR_MS, 22 * HOUR_MS)));
        let last = utc("9999-12-31").unwrap();
        assert_eq!(last.1 - last.0, DAY_MS);
        for bad in ["2015-13", "2015-02-30", "x", "2015-02-30T00:00:00Z", ""] {
            assert_eq!(utc(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_period_keeps_its_milliseconds() {
        for (start, end) in [
            (None, Some(0)),
            (None, Some(1)),
            (Some(0), None),
            (Some(1), None),
            (Some(1_700_000_000_001), Some(1_731_536_000_000)),
        ] {
            let period = Period::new(start, end).unwrap();
            let written = write_period(&period).unwrap();
            let read = read_period(&Some(written), UtcOffset::UTC, "x").unwrap();
            assert_eq!(read, Some(period));
        }
        let beyond = Period::new(Some(u64::MAX - 1), Some(u64::MAX)).unwrap();
        assert_eq!(write_period(&beyond), Err(BeyondDates));
    }
}
