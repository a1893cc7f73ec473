//! Vital signs as `Observation`s: the codes of HL7's vital signs profile.

use fhirkit::r4::{
    CodeableConcept, Observation, ObservationComponent, ObservationComponentValue,
    ObservationEffective, ObservationValue, Quantity,
};
use fhirkit::{Decimal, Primitive};
use stela_consent::{Category, Id};

use crate::code::{LOINC, category, code_in, concept, no_extension, optional_text, parts, text};
use crate::moment::{BeyondDates, instant, read_instant};
use crate::reference::{self, Target, target};
use crate::refusal::{Read, Reason, Refusal};

const UCUM: &str = "http://unitsofmeasure.org";
/// LOINC: blood pressure, systolic and diastolic as its components.
const BLOOD_PRESSURE: &str = "85354-9";

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VitalSign {
    /// Breaths per minute.
    RespiratoryRate,
    /// Heart beats per minute.
    HeartRate,
    /// Oxygen saturation of arterial blood, by pulse oximetry, in percent.
    OxygenSaturation,
    /// Body temperature in degrees Celsius.
    BodyTemperature,
    /// Systolic blood pressure in millimetres of mercury.
    SystolicPressure,
    /// Diastolic blood pressure in millimetres of mercury.
    DiastolicPressure,
    /// Body weight in kilograms.
    BodyWeight,
}

impl VitalSign {
    /// Every vital sign.
    pub const ALL: [Self; 7] = [
        Self::RespiratoryRate,
        Self::HeartRate,
        Self::OxygenSaturation,
        Self::BodyTemperature,
        Self::SystolicPressure,
        Self::DiastolicPressure,
        Self::BodyWeight,
    ];

    /// Its LOINC code.
    pub const fn loinc(self) -> &'static str {
        match self {
            Self::RespiratoryRate => "9279-1",
            Self::HeartRate => "8867-4",
            Self::OxygenSaturation => "59408-5",
            Self::BodyTemperature => "8310-5",
            Self::SystolicPressure => "8480-6",
            Self::DiastolicPressure => "8462-4",
            Self::BodyWeight => "29463-7",
        }
    }

    /// Its unit in UCUM.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::RespiratoryRate | Self::HeartRate => "/min",
            Self::OxygenSaturation => "%",
            Self::BodyTemperature => "Cel",
            Self::SystolicPressure | Self::DiastolicPressure => "mm[Hg]",
            Self::BodyWeight => "kg",
        }
    }

    fn of(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.loinc() == code)
    }
}

/// A measured value, with the digits that the device gave, in the unit of its vital sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measurement {
    /// What was measured.
    pub sign: VitalSign,
    /// The value.
    pub value: Decimal,
}

/// One or, for blood pressure, two measurements of a patient at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// The patient, as a reference (`Patient/…`).
    pub patient: String,
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// What.
    pub measurements: Vec<Measurement>,
}

/// Reads a final observation of a vital sign.
///
/// # Errors
/// [`Refusal`] with the first element that is missing or not understood.
pub fn measured(observation: &Observation) -> Result<Measured, Refusal> {
    no_extension(&observation.modifier_extension, "Observation")?;
    if text(&observation.status, "Observation.status")? != "final" {
        return Err(Reason::NotExpressible.at("Observation.status"));
    }
    let element = "Observation.subject";
    let subject = observation.subject.as_ref();
    let subject = subject.ok_or_else(|| Reason::Missing.at(element))?;
    let patient = match target(subject, element)? {
        Target::Literal(address) => address.to_owned(),
        Target::Identified(reference::PATIENT, value) => format!("Patient/{value}"),
        Target::Identified(..) => return Err(Reason::Unresolved.at(element)),
    };
    let time_ms = match &observation.effective {
        Some(ObservationEffective::DateTime(moment)) => read_instant(moment),
        Some(ObservationEffective::Instant(moment)) => read_instant(moment),
        _ => None,
    }
    .ok_or_else(|| Reason::Time.at("Observation.effective"))?;
    Ok(Measured {
        patient,
        time_ms,
        measurements: measurements(observation)?,
    })
}

fn measurements(observation: &Observation) -> Read<Vec<Measurement>> {
    let element = "Observation.code";
    let code = loinc(observation.code.as_ref(), element)?;
    if code == BLOOD_PRESSURE {
        let components = observation.component.iter().enumerate();
        return components.map(|(i, one)| component(one, i)).collect();
    }
    if !observation.component.is_empty() {
        return Err(Reason::NotExpressible.at("Observation.component"));
    }
    let sign = VitalSign::of(code).ok_or_else(|| Reason::UnknownCode.at(element))?;
    match &observation.value {
        Some(ObservationValue::Quantity(quantity)) => {
            Ok(vec![measurement(sign, quantity, "Observation.value")?])
        }
        _ => Err(Reason::Missing.at("Observation.value")),
    }
}

fn component(one: &ObservationComponent, index: usize) -> Read<Measurement> {
    let element = format!("Observation.component[{index}]");
    no_extension(&one.modifier_extension, &element)?;
    let code = loinc(one.code.as_ref(), &format!("{element}.code"))?;
    let sign = VitalSign::of(code)
        .filter(|sign| {
            matches!(
                sign,
                VitalSign::SystolicPressure | VitalSign::DiastolicPressure
            )
        })
        .ok_or_else(|| Reason::UnknownCode.at(format_args!("{element}.code")))?;
    match &one.value {
        Some(ObservationComponentValue::Quantity(quantity)) => {
            measurement(sign, quantity, &format!("{element}.value"))
        }
        _ => Err(Reason::Missing.at(format_args!("{element}.value"))),
    }
}

/// The one LOINC code that is known here; the profile wants it beside whatever else is said.
fn loinc<'a>(concept: Option<&'a CodeableConcept>, element: &str) -> Read<&'a str> {
    let concept = concept.ok_or_else(|| Reason::Missing.at(element))?;
    let mut known = concept.coding.iter().filter_map(|coding| {
        let (system, code) = parts(coding, element).ok()?;
        let ours = code == BLOOD_PRESSURE || VitalSign::of(code).is_some();
        (system == LOINC && ours).then_some(code)
    });
    match (known.next(), known.next()) {
        (Some(code), None) => Ok(code),
        _ => Err(Reason::UnknownCode.at(element)),
    }
}

fn measurement(sign: VitalSign, quantity: &Quantity, element: &str) -> Read<Measurement> {
    no_extension(&quantity.extension, element)?;
    let unit = fhirkit::r4::Coding {
        system: quantity.system.clone(),
        code: quantity.code.clone(),
        ..fhirkit::r4::Coding::default()
    };
    if code_in(&unit, UCUM, element)? != sign.unit() {
        return Err(Reason::UnknownCode.at(format_args!("{element}.code")));
    }
    if optional_text(&quantity.comparator, element)?.is_some() {
        return Err(Reason::NotExpressible.at(format_args!("{element}.comparator")));
    }
    let value = quantity
        .value
        .as_ref()
        .and_then(|value| value.value.clone());
    let value = value.ok_or_else(|| Reason::Missing.at(format_args!("{element}.value")))?;
    Ok(Measurement { sign, value })
}

/// A measurement as a resource, from which [`measured`] reads the same again.
///
/// # Errors
/// [`BeyondDates`]: it was taken after the year 9999.
pub fn observation(
    patient: &Id,
    time_ms: u64,
    measurement: &Measurement,
) -> Result<Observation, BeyondDates> {
    let (system, code) = category(Category::VitalSigns);
    let Measurement { sign, value } = measurement;
    Ok(Observation {
        status: Some("final".into()),
        category: vec![concept(system, code)],
        code: Some(concept(LOINC, sign.loinc())),
        subject: Some(reference::patient(patient)),
        effective: Some(ObservationEffective::DateTime(instant(time_ms)?)),
        value: Some(ObservationValue::Quantity(Quantity {
            value: Some(Primitive::new(value.clone())),
            unit: Some(sign.unit().into()),
            system: Some(UCUM.into()),
            code: Some(sign.unit().into()),
            ..Quantity::default()
        })),
        ..Observation::default()
    })
}
