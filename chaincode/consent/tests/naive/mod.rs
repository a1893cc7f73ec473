//! A slow, literal reading of the evaluator's documentation. The fuzz targets use it too.

use stela_consent::{
    Actor, Confidentiality, Consent, Period, Provision, ProvisionType, Purpose, Request, Status,
};

/// The purposes that contain a purpose, itself first, written down by hand.
fn containing(purpose: Purpose) -> Vec<&'static str> {
    let above = match purpose.code() {
        "ETREAT" | "COC" | "CLINTRL" => vec!["TREAT"],
        "BTG" => vec!["ETREAT", "TREAT"],
        "COVERAGE" => vec!["HPAYMT"],
        "HQUALIMP" | "HCOMPL" | "PATADMIN" | "PATSFTY" | "RECORDMGT" | "TRAIN" | "HSYSADMIN"
        | "HUAPRV" => vec!["HOPERAT"],
        "BIORCH" | "CLINTRCH" | "DSRCH" | "TRANSRCH" => vec!["HRESCH"],
        "DISASTER" | "THREAT" => vec!["PUBHLTH"],
        "FAMRQT" | "PWATRNY" | "SUPNWK" => vec!["PATRQT"],
        _ => Vec::new(),
    };
    [vec![purpose.code()], above].concat()
}

fn is_permit(p: &Provision) -> bool {
    p.kind == ProvisionType::Permit
}

fn is_for(p: &Provision, r: &Request<'_>) -> bool {
    let role = r.requester.role.code();
    let workforce = matches!(
        role,
        "practitioner" | "records-officer" | "privacy-officer" | "researcher"
    );
    let home = |o: &str| o == r.requester.organization;
    match (&p.actor, is_permit(p), r.study) {
        (Some(Actor::Study(named)), _, asked) => asked.is_some_and(|asked| asked == *named),
        (_, true, Some(_)) => false,
        (None, true, None) => workforce,
        (None, false, _) => true,
        (Some(Actor::Identity(f)), ..) => *f == r.requester.fingerprint,
        (Some(Actor::Role(one)), ..) => one.code() == role,
        (Some(Actor::RoleAt(o, one)), ..) => home(o.as_str()) && one.code() == role,
        (Some(Actor::Organization(o)), true, None) => home(o.as_str()) && workforce,
        (Some(Actor::Organization(o)), false, _) => home(o.as_str()),
    }
}

fn applies(p: &Provision, r: &Request<'_>) -> bool {
    let permit = is_permit(p);
    let rank = |c: Confidentiality| "ULMNRV".find(c.code()).expect("a level");
    let level = rank(r.record.confidentiality);
    let inside = |period: Period, t: u64| {
        period.start_ms().unwrap_or(0) <= t && period.end_ms().is_none_or(|end| t < end)
    };
    let why = p.purposes.is_empty()
        || containing(r.purpose)
            .iter()
            .any(|c| p.purposes.iter().any(|l| l.code() == *c));
    let uncovered = r
        .record
        .labels
        .iter()
        .filter(|l| !p.labels.contains(l))
        .count();
    let labels = if permit {
        uncovered == 0
    } else {
        p.labels.is_empty() || uncovered < r.record.labels.len()
    };
    let confidentiality = if permit {
        level <= p.ceiling.map_or(rank(Confidentiality::Normal), rank)
    } else {
        level >= p.floor.map_or(0, rank)
    };
    let date = match (p.data_period, r.record.date_ms) {
        (None, _) => true,
        (Some(_), None) => !permit,
        (Some(period), Some(date)) => inside(period, date),
    };
    is_for(p, r)
        && why
        && labels
        && confidentiality
        && date
        && p.period.is_none_or(|period| inside(period, r.time_ms))
        && (p.categories.is_empty() || p.categories.contains(&r.record.category))
        && (p.records.is_empty() || p.records.contains(&r.record.id))
}

fn numbers(p: &Provision, r: &Request<'_>) -> Vec<usize> {
    let (place, task) = match &p.actor {
        None => (0, 0),
        Some(Actor::Organization(_)) => (1, 0),
        Some(Actor::Role(_)) => (0, 1),
        Some(Actor::RoleAt(..)) => (1, 1),
        Some(Actor::Study(_)) => (0, 1),
        Some(Actor::Identity(_)) => (2, 2),
    };
    let chain = containing(r.purpose);
    let purpose = chain
        .iter()
        .position(|c| p.purposes.iter().any(|l| l.code() == *c))
        .map_or(0, |steps_up| chain.len() - steps_up);
    vec![
        usize::from(!p.records.is_empty()),
        place,
        task,
        purpose,
        usize::from(p.ceiling.or(p.floor).is_some()),
        usize::from(!p.labels.is_empty()),
        usize::from(!p.categories.is_empty()),
        usize::from(p.data_period.is_some()),
    ]
}

/// What the consents say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// No provision applies.
    Nothing,
    /// One of the most specific provisions denies.
    Deny,
    /// All of them permit; whether one of them is for a study that may not know the patient.
    Permit { de_identified: bool },
}

/// What the consents say to the request.
pub(crate) fn reference(request: &Request<'_>, consents: &[(Consent, Status)]) -> Answer {
    let mut applying: Vec<(bool, bool, Vec<usize>)> = Vec::new();
    for (consent, status) in consents {
        let base = consent.provision();
        if *status == Status::Inactive || !applies(base, request) {
            continue;
        }
        let hidden = consent.research().is_some_and(|c| c.code() == "RSDID");
        let own = numbers(base, request);
        let exceptions: Vec<_> = consent
            .exceptions()
            .iter()
            .filter(|e| applies(e, request))
            .collect();
        if exceptions.is_empty() {
            applying.push((is_permit(base), hidden, own.clone()));
        }
        for exception in exceptions {
            let joined = numbers(exception, request)
                .into_iter()
                .zip(&own)
                .map(|(a, b)| a.max(*b))
                .collect();
            applying.push((is_permit(exception), hidden, joined));
        }
    }
    let exceeded = |mine: &Vec<usize>| {
        applying
            .iter()
            .any(|(_, _, other)| other != mine && other.iter().zip(mine).all(|(o, m)| o >= m))
    };
    let top: Vec<(bool, bool)> = applying
        .iter()
        .filter(|(_, _, n)| !exceeded(n))
        .map(|(permit, hidden, _)| (*permit, *hidden))
        .collect();
    if top.is_empty() {
        Answer::Nothing
    } else if top.iter().any(|(permit, _)| !permit) {
        Answer::Deny
    } else {
        Answer::Permit {
            de_identified: top.iter().any(|(_, hidden)| *hidden),
        }
    }
}

/// Whether the glass may be broken: unless the record is very restricted and the consents deny it.
pub(crate) fn emergency(request: &Request<'_>, consents: &[(Consent, Status)]) -> bool {
    let request = Request {
        purpose: Purpose::BreakGlass,
        study: None,
        ..*request
    };
    request.record.confidentiality.code() != "V" || reference(&request, consents) != Answer::Deny
}
