//! Vital signs as FHIR R4 `Observation`s, and the thresholds beyond which one is an alert.
//!
//! Codes are those of LOINC panel 85353-1, units those of UCUM, as the FHIR profile for vital signs
//! (<http://hl7.org/fhir/R4/observation-vitalsigns.html>) has them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stela_consent::{Fingerprint, Id};

/// A vital sign that is one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vital {
    /// Breaths per minute.
    RespiratoryRate,
    /// Beats per minute.
    HeartRate,
    /// Oxygen saturation by pulse oximetry, in percent.
    OxygenSaturation,
    /// Body temperature, in degrees Celsius.
    BodyTemperature,
    /// Systolic blood pressure, in millimetres of mercury.
    Systolic,
    /// Diastolic blood pressure, in millimetres of mercury.
    Diastolic,
    /// Body weight, in kilograms.
    BodyWeight,
}

impl Vital {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::RespiratoryRate,
        Self::HeartRate,
        Self::OxygenSaturation,
        Self::BodyTemperature,
        Self::Systolic,
        Self::Diastolic,
        Self::BodyWeight,
    ];

    /// The LOINC code.
    pub const fn loinc(self) -> &'static str {
        match self {
            Self::RespiratoryRate => "9279-1",
            Self::HeartRate => "8867-4",
            Self::OxygenSaturation => "59408-5",
            Self::BodyTemperature => "8310-5",
            Self::Systolic => "8480-6",
            Self::Diastolic => "8462-4",
            Self::BodyWeight => "29463-7",
        }
    }

    /// The UCUM unit.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::RespiratoryRate | Self::HeartRate => "/min",
            Self::OxygenSaturation => "%",
            Self::BodyTemperature => "Cel",
            Self::Systolic | Self::Diastolic => "mm[Hg]",
            Self::BodyWeight => "kg",
        }
    }
}

/// One reading of a device: tenths of the unit, so that what is hashed has no rounding of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// A vital sign that stands alone.
    Single(Vital, i64),
    /// Systolic and diastolic blood pressure.
    BloodPressure(i64, i64),
}

impl Reading {
    fn values(self) -> Vec<(Vital, i64)> {
        match self {
            Self::Single(vital, tenths) => vec![(vital, tenths)],
            Self::BloodPressure(systolic, diastolic) => {
                vec![(Vital::Systolic, systolic), (Vital::Diastolic, diastolic)]
            }
        }
    }

    /// The FHIR R4 `Observation`, as text. The patient and the device stand in it by the ids that
    /// the ledger has.
    pub fn observation(self, patient: Id, device: Fingerprint, time: &str) -> String {
        let coding = |code: &str| json!({"coding": [{"system": "http://loinc.org", "code": code}]});
        let mut observation = json!({
            "resourceType": "Observation",
            "status": "final",
            "category": [{"coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                "code": "vital-signs",
            }]}],
            "subject": {"identifier": {"system": "urn:stela:patient", "value": patient}},
            "device": {"identifier": {"system": "urn:stela:device", "value": device}},
            "effectiveDateTime": time,
        });
        match self {
            Self::Single(vital, tenths) => {
                observation["code"] = coding(vital.loinc());
                observation["valueQuantity"] = quantity(vital, tenths);
            }
            Self::BloodPressure(..) => {
                observation["code"] = coding("85354-9");
                let components = self.values().into_iter().map(|(vital, tenths)| {
                    json!({"code": coding(vital.loinc()), "valueQuantity": quantity(vital, tenths)})
                });
                observation["component"] = components.collect();
            }
        }
        observation.to_string()
    }
}

fn quantity(vital: Vital, tenths: i64) -> Value {
    let value = match tenths % 10 {
        0 => json!(tenths / 10),
        #[allow(clippy::cast_precision_loss, reason = "a reading has few digits")]
        _ => json!(tenths as f64 / 10.0),
    };
    json!({
        "value": value,
        "unit": vital.unit(),
        "system": "http://unitsofmeasure.org",
        "code": vital.unit(),
    })
}

/// A patient's own thresholds, kept at her gateway alone: what they are, and what is beyond them,
/// tells about her.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds(Vec<Threshold>);

/// From where to where a vital sign is as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// The LOINC code.
    pub code: String,
    /// The lowest value, in tenths of the unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_tenths: Option<i64>,
    /// The highest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high_tenths: Option<i64>,
}

impl Thresholds {
    /// Those of an adult at rest.
    pub fn adult() -> Self {
        let range = |vital: Vital, low: i64, high: i64| Threshold {
            code: vital.loinc().to_owned(),
            low_tenths: Some(low),
            high_tenths: Some(high),
        };
        Self(vec![
            range(Vital::RespiratoryRate, 100, 250),
            range(Vital::HeartRate, 450, 1200),
            range(Vital::OxygenSaturation, 920, 1000),
            range(Vital::BodyTemperature, 350, 385),
            range(Vital::Systolic, 900, 1800),
            range(Vital::Diastolic, 500, 1100),
        ])
    }

    /// Whether a reading lies beyond them.
    pub fn alerts(&self, reading: Reading) -> bool {
        let beyond = |(vital, tenths): (Vital, i64)| {
            let own = self.0.iter().filter(|one| one.code == vital.loinc());
            own.into_iter().any(|one| {
                one.low_tenths.is_some_and(|low| tenths < low)
                    || one.high_tenths.is_some_and(|high| tenths > high)
            })
        };
        reading.values().into_iter().any(beyond)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stela_consent::Hex;

    #[test]
    fn readings_are_fhir_observations() {
        let text = |reading: Reading| {
            reading.observation(Hex([1; 16]), Hex([2; 32]), "2026-01-01T00:00:00Z")
        };
        let pulse: Value =
            serde_json::from_str(&text(Reading::Single(Vital::HeartRate, 720))).unwrap();
        assert_eq!(pulse["resourceType"], "Observation");
        assert_eq!(pulse["code"]["coding"][0]["code"], "8867-4");
        assert_eq!(pulse["valueQuantity"]["value"], 72);
        let warm: Value =
            serde_json::from_str(&text(Reading::Single(Vital::BodyTemperature, 368))).unwrap();
        assert_eq!(warm["valueQuantity"]["value"], 36.8);
        let pressure: Value =
            serde_json::from_str(&text(Reading::BloodPressure(1200, 800))).unwrap();
        assert_eq!(pressure["code"]["coding"][0]["code"], "85354-9");
        assert_eq!(
            pressure["component"][1]["code"]["coding"][0]["code"],
            "8462-4"
        );
        assert!(pressure.get("valueQuantity").is_none());
    }

    #[test]
    fn what_lies_beyond_a_threshold_alerts() {
        let adult = Thresholds::adult();
        let check = |reading, expected| assert_eq!(adult.alerts(reading), expected, "{reading:?}");
        check(Reading::Single(Vital::HeartRate, 1200), false);
        check(Reading::Single(Vital::HeartRate, 1201), true);
        check(Reading::Single(Vital::OxygenSaturation, 919), true);
        check(Reading::BloodPressure(1200, 1101), true);
        check(Reading::BloodPressure(1200, 800), false);
        check(Reading::Single(Vital::BodyWeight, 700), false);
    }
}
