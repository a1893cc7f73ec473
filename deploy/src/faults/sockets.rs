//! Which process has dialled a connection on this machine, as the system's tables say.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use crate::network::ProcessIds;
use crate::relay::Dialler;

/// Finds the node that has dialled, if it is one.
pub(super) fn dialler(ids: ProcessIds) -> Dialler {
    Arc::new(move |from, to| {
        let inode = inode(&fs::read_to_string("/proc/net/tcp").ok()?, from, to)?;
        let wanted = format!("socket:[{inode}]");
        let ids = ids.lock();
        let found = ids.iter().find(|(id, _)| holds(**id, &wanted));
        found.map(|(_, title)| title.clone())
    })
}

/// The inode of the socket whose own address is `from` and whose other end is `to`.
fn inode(table: &str, from: SocketAddr, to: SocketAddr) -> Option<u64> {
    let (from, to) = (written(from)?, written(to)?);
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let ends = (fields.next()?, fields.next()?);
        if ends != (from.as_str(), to.as_str()) {
            return None;
        }
        fields.nth(6)?.parse().ok()
    })
}

/// An address as the table has it: the four bytes in the machine's order, and the port.
fn written(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else {
        return None;
    };
    let ip = u32::from_ne_bytes(address.ip().octets());
    Some(format!("{ip:08X}:{:04X}", address.port()))
}

/// Whether a process has this file open.
fn holds(process: u32, file: &str) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{process}/fd")) else {
        return false;
    };
    entries.flatten().any(|entry| {
        fs::read_link(entry.path()).is_ok_and(|link| link.as_path() == Path::new(file))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::net::{TcpListener, TcpStream};

    use parking_lot::Mutex;

    #[test]
    fn this_process_is_found_by_its_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let stream = TcpStream::connect(to).unwrap();
        let from = stream.local_addr().unwrap();
        let known = BTreeMap::from([(std::process::id(), "own".to_owned())]);
        let ids: ProcessIds = Arc::new(Mutex::new(known));
        assert_eq!(dialler(ids.clone())(from, to), Some("own".to_owned()));
        ids.lock().clear();
        assert_eq!(dialler(ids)(from, to), None);
    }

    #[test]
    fn a_line_of_the_table_is_understood() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   \
                     uid  timeout inode\n   0: 0100007F:1F90 0100007F:C350 01 00000000:00000000 \
                     00:00000000 00000000     0        0 4711 1 0000000000000000 20 4 30 10 -1\n";
        let [one, other] = ["127.0.0.1:8080", "127.0.0.1:50000"].map(|a| a.parse().unwrap());
        assert_eq!(inode(table, one, other), Some(4711));
        assert_eq!(inode(table, other, one), None);
    }
}
