//! What went wrong, in one line.

use std::error::Error;

/// What an error and its causes say, the outermost first, apart by `: `. Many an error repeats what
/// its cause says; that is said once.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut line = String::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        next = cause.source();
        let said = cause.to_string();
        if line.is_empty() {
            line = said;
        } else if !line.contains(&said) {
            line = format!("{line}: {said}");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Layer {
        #[error("the disk is full")]
        Innermost,
        #[error("writing failed: {source}")]
        Repeats { source: Box<Layer> },
        #[error("stopped: {source}; start it again")]
        RepeatsInside { source: Box<Layer> },
        #[error("nothing was kept")]
        IsSilent { source: Box<Layer> },
        #[error(transparent)]
        PassesOn(Box<Layer>),
    }

    fn check(error: &Layer, expect: &str) {
        assert_eq!(causes(error), expect);
    }

    #[test]
    fn every_cause_is_said_once() {
        let repeats = |inner| Layer::Repeats {
            source: Box::new(inner),
        };
        let silent = |inner| Layer::IsSilent {
            source: Box::new(inner),
        };
        check(&Layer::Innermost, "the disk is full");
        check(
            &repeats(Layer::Innermost),
            "writing failed: the disk is full",
        );
        check(
            &silent(repeats(Layer::Innermost)),
            "nothing was kept: writing failed: the disk is full",
        );
        let inside = Layer::RepeatsInside {
            source: Box::new(repeats(Layer::Innermost)),
        };
        check(
            &inside,
            "stopped: writing failed: the disk is full; start it again",
        );
        let passed_on = Layer::PassesOn(Box::new(repeats(silent(Layer::Innermost))));
        check(
            &passed_on,
            "writing failed: nothing was kept: the disk is full",
        );
    }
}
