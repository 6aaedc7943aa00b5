//! HTTP/2 by hand: frames as bytes, so that a test can send what no library would.
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// How much a stream may be sent before it has said that it takes more.
pub const INITIAL_WINDOW_SIZE: u16 = 4;

pub const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long an expected frame may take on a busy machine.
const WITHIN: Duration = Duration::from_secs(20);

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A frame as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Settings as a frame.
pub fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in settings {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

/// A header block in plain text, that no table remembers.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            text_into(&mut block, text.as_bytes());
        }
    }
    block
}

fn text_into(block: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        short @ 0..127 => block.push(short as u8),
        long => {
            let mut rest = long - 127;
            block.push(127);
            while rest >= 128 {
                block.push((rest % 128) as u8 | 0x80);
                rest /= 128;
            }
            block.push(rest as u8);
        }
    }
    block.extend(text);
}

/// The headers of a gRPC call.
pub fn call(path: &str) -> Vec<u8> {
    block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ])
}

/// A message as gRPC frames it.
pub fn message(flag: u8, content: &[u8]) -> Vec<u8> {
    let mut wire = vec![flag];
    wire.extend((content.len() as u32).to_be_bytes());
    wire.extend(content);
    wire
}

/// A TCP connection from loopback's address with this last byte: attackers are not where others are.
pub async fn dial(from: u8, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, from), 0)))?;
    let stream = timeout(WITHIN, socket.connect(to)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A connection that speaks HTTP/2.
pub struct Raw {
    pub stream: TcpStream,
}

impl Raw {
    /// Connects and greets, with these settings.
    pub async fn connect(from: u8, to: SocketAddr, with: &[(u16, u32)]) -> std::io::Result<Raw> {
        let mut stream = dial(from, to).await?;
        stream.write_all(&[GREETING, &settings(with)].concat()).await?;
        Ok(Raw { stream })
    }

    /// Begins a gRPC call on this stream; its messages follow.
    pub async fn begin(&mut self, stream: u32, path: &str) -> std::io::Result<()> {
        self.send(HEADERS, END_HEADERS, stream, &call(path)).await
    }

    /// Makes a gRPC call on this stream, whole.
    pub async fn ask(&mut self, stream: u32, path: &str, content: &[u8]) -> std::io::Result<()> {
        let headers = frame(HEADERS, END_HEADERS, stream, &call(path));
        let data = frame(DATA, END_STREAM, stream, &message(0, content));
        self.stream.write_all(&[headers, data].concat()).await
    }

    /// Sends a frame.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(&frame(kind, flags, stream, payload)).await
    }

    /// The next frame; `None` when the connection has ended. Panics when nothing comes for long.
    pub async fn next(&mut self) -> Option<Frame> {
        timeout(WITHIN, self.read()).await.expect("a frame in time")
    }

    /// The next frame, however long it takes.
    async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, d, e, f, g] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes([d, e, f, g]), payload })
    }

    /// Reads up to the GOAWAY: its code and reason. `None` when the connection ends without one.
    pub async fn goaway(&mut self) -> Option<(u32, String)> {
        loop {
            let frame = self.next().await?;
            if frame.kind == GOAWAY {
                let code = u32::from_be_bytes(frame.payload[4..8].try_into().expect("four bytes"));
                return Some((code, String::from_utf8_lossy(&frame.payload[8..]).into_owned()));
            }
        }
    }
}
