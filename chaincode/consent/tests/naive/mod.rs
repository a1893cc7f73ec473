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

fn applies(p: &Provision, r: &Request<'_>) -> bool {
    let permit = p.kind == ProvisionType::Permit;
    let rank = |c: Confidentiality| "ULMNRV".find(c.code()).expect("a level");
    let level = rank(r.record.confidentiality);
    let inside = |period: Period, t: u64| {
        period.start_ms().unwrap_or(0) <= t && period.end_ms().is_none_or(|end| t < end)
    };
    let meant = !permit
        || matches!(
            r.requester.role.code(),
            "practitioner" | "records-officer" | "privacy-officer" | "researcher"
        );
    let who = match &p.actor {
        None => meant,
        Some(Actor::Identity(f)) => *f == r.requester.fingerprint,
        Some(Actor::RoleAt(o, role)) => {
            (o.as_str(), *role) == (r.requester.organization, r.requester.role)
        }
        Some(Actor::Organization(o)) => o.as_str() == r.requester.organization && meant,
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
    who && why
        && labels
        && confidentiality
        && date
        && p.period.is_none_or(|period| inside(period, r.time_ms))
        && (p.categories.is_empty() || p.categories.contains(&r.record.category))
        && (p.records.is_empty() || p.records.contains(&r.record.id))
}

fn numbers(p: &Provision, r: &Request<'_>) -> Vec<usize> {
    let actor = match &p.actor {
        None => 0,
        Some(Actor::Organization(_)) => 1,
        Some(Actor::RoleAt(..)) => 2,
        Some(Actor::Identity(_)) => 3,
    };
    let chain = containing(r.purpose);
    let purpose = chain
        .iter()
        .position(|c| p.purposes.iter().any(|l| l.code() == *c))
        .map_or(0, |steps_up| chain.len() - steps_up);
    vec![
        usize::from(!p.records.is_empty()),
        actor,
        purpose,
        usize::from(p.ceiling.or(p.floor).is_some()),
        usize::from(!p.labels.is_empty()),
        usize::from(!p.categories.is_empty()),
        usize::from(p.data_period.is_some()),
    ]
}

/// Whether the consents permit the request.
pub(crate) fn reference(request: &Request<'_>, consents: &[(Consent, Status)]) -> bool {
    let mut applying: Vec<(bool, Vec<usize>)> = Vec::new();
    for (consent, status) in consents {
        let base = consent.provision();
        if *status == Status::Inactive || !applies(base, request) {
            continue;
        }
        let is_permit = |p: &Provision| p.kind == ProvisionType::Permit;
        let own = numbers(base, request);
        let exceptions: Vec<_> = consent
            .exceptions()
            .iter()
            .filter(|e| applies(e, request))
            .collect();
        if exceptions.is_empty() {
            applying.push((is_permit(base), own.clone()));
        }
        for exception in exceptions {
            let joined = numbers(exception, request)
                .into_iter()
                .zip(&own)
                .map(|(a, b)| a.max(*b))
                .collect();
            applying.push((is_permit(exception), joined));
        }
    }
    let exceeded = |mine: &Vec<usize>| {
        applying
            .iter()
            .any(|(_, other)| other != mine && other.iter().zip(mine).all(|(o, m)| o >= m))
    };
    let top: Vec<bool> = applying
        .iter()
        .filter(|(_, n)| !exceeded(n))
        .map(|(permit, _)| *permit)
        .collect();
    !top.is_empty() && top.iter().all(|permit| *permit)
}
