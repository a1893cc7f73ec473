//! `Ctrl-C`, a request to end, or a closed terminal.

use tokio::signal::unix::{SignalKind, signal};

use crate::failure;

/// Does `work` until one of these signals comes. What is under way is then dropped, which removes
/// files that are not yet complete.
pub(crate) async fn or<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::select! {
        outcome = work => outcome,
        () = told_to_end() => Err(failure::interrupted()),
    }
}

async fn told_to_end() {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    let mut signals: Vec<_> = kinds
        .into_iter()
        .filter_map(|kind| signal(kind).ok())
        .collect();
    let waiting = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
    futures::future::select_all(waiting).await;
}
