//! Cluster DNS: questions in, answers out.

use std::sync::Arc;
use std::time::Duration;

use hickory_proto::ProtoError;
use hickory_proto::op::{Edns, Message, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::zone::{self, Meaning, Records, Zone};
use crate::output;
use crate::resolver::{self, Resolver, Transport};

/// What a client that says nothing else can take in one datagram.
const PLAIN_DATAGRAM: u16 = 512;
/// The longest datagram that no network cuts into pieces (DNS flag day 2020).
const WHOLE_DATAGRAM: u16 = 1232;
const LONGEST_CHAIN: usize = 8;
/// How long a TCP client may keep quiet.
const IDLE: Duration = Duration::from_secs(10);

/// Answers for the environment; asks on for the rest.
pub(super) struct Nameserver {
    zone: Zone,
    upstream: Resolver,
}

impl Nameserver {
    pub(super) fn new(zone: Zone, upstream: Resolver) -> Self {
        Self { zone, upstream }
    }

    /// The answer to one message; `None` for what is no question at all.
    async fn answer(&self, message: &[u8], by: Transport) -> Option<Vec<u8>> {
        let question = Message::from_vec(message).ok()?;
        let mut response = Message::response(question.metadata.id, question.metadata.op_code);
        response.metadata.recursion_desired = question.metadata.recursion_desired;
        response.metadata.recursion_available = true;
        response.add_queries(question.queries.iter().cloned());
        if question.edns.is_some() {
            let mut own = Edns::new();
            own.set_max_payload(WHOLE_DATAGRAM);
            response.set_edns(own);
        }
        let code = match question.queries.as_slice() {
            _ if question.metadata.op_code != OpCode::Query => ResponseCode::NotImp,
            [query] if query.query_class() != DNSClass::IN => ResponseCode::Refused,
            [query] => match self.zone.look_up(query.name(), query.query_type()) {
                Ok(Meaning::Foreign) => match self.upstream.exchange(message, by).await {
                    Ok(answer) => return Some(answer),
                    Err(_) => ResponseCode::ServFail,
                },
                Ok(meaning) => {
                    response.metadata.authoritative = true;
                    let query = query.clone();
                    self.fill(&mut response, query.name(), query.query_type(), meaning)
                        .await
                        .unwrap_or(ResponseCode::ServFail)
                }
                Err(_) => ResponseCode::ServFail,
            },
            _ => ResponseCode::FormErr,
        };
        response.metadata.response_code = code;
        let limit = match by {
            Transport::Udp => question
                .edns
                .map_or(PLAIN_DATAGRAM, |e| e.max_payload().max(PLAIN_DATAGRAM)),
            Transport::Tcp => u16::MAX,
        };
        encode(&response, limit).ok()
    }

    async fn fill(
        &self,
        response: &mut Message,
        name: &Name,
        kind: RecordType,
        meaning: Meaning,
    ) -> Result<ResponseCode, ProtoError> {
        match meaning {
            Meaning::Known(Records {
                answers,
                additionals,
            }) => {
                if answers.is_empty() {
                    response.add_authority(self.zone.authority()?);
                }
                response.add_answers(answers);
                response.add_additionals(additionals);
                Ok(ResponseCode::NoError)
            }
            Meaning::Alias(target) => {
                response.add_answer(zone::alias(name.clone(), target.clone()));
                if kind == RecordType::CNAME {
                    return Ok(ResponseCode::NoError);
                }
                self.follow(response, target, kind).await
            }
            Meaning::Unknown | Meaning::Foreign => {
                response.add_authority(self.zone.authority()?);
                Ok(ResponseCode::NXDomain)
            }
        }
    }

    /// Adds what the target of an alias comes to, for clients that do not ask again.
    async fn follow(
        &self,
        response: &mut Message,
        mut target: Name,
        kind: RecordType,
    ) -> Result<ResponseCode, ProtoError> {
        for _ in 0..LONGEST_CHAIN {
            match self.zone.look_up(&target, kind)? {
                Meaning::Alias(next) => {
                    response.add_answer(zone::alias(target, next.clone()));
                    target = next;
                }
                Meaning::Known(records) => {
                    response.add_answers(records.answers);
                    return Ok(ResponseCode::NoError);
                }
                Meaning::Unknown => return Ok(ResponseCode::NXDomain),
                Meaning::Foreign => {
                    let Ok(answer) = self.upstream.query(&target, kind).await else {
                        return Ok(ResponseCode::ServFail);
                    };
                    response.add_answers(answer.answers);
                    return Ok(answer.metadata.response_code);
                }
            }
        }
        Ok(ResponseCode::ServFail)
    }
}

fn encode(response: &Message, limit: u16) -> Result<Vec<u8>, ProtoError> {
    let bytes = response.to_vec()?;
    if bytes.len() <= usize::from(limit) {
        return Ok(bytes);
    }
    // The client comes back by TCP.
    response.truncate().to_vec()
}

/// Answers datagrams.
pub(super) async fn serve_udp(socket: UdpSocket, nameserver: Arc<Nameserver>) {
    let socket = Arc::new(socket);
    let mut buffer = [0; 4096];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                output::warn(format_args!("cannot receive a DNS question: {error}"));
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let question = buffer.get(..length).unwrap_or_default().to_vec();
        let (socket, nameserver) = (Arc::clone(&socket), Arc::clone(&nameserver));
        tokio::spawn(async move {
            if let Some(answer) = nameserver.answer(&question, Transport::Udp).await {
                // The client asks again if it hears nothing.
                let _ = socket.send_to(&answer, client).await;
            }
        });
    }
}

/// Answers connections.
pub(super) async fn serve_tcp(listener: TcpListener, nameserver: Arc<Nameserver>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(converse(stream, Arc::clone(&nameserver)));
            }
            Err(error) => {
                output::warn(format_args!("cannot accept a DNS connection: {error}"));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn converse(mut stream: TcpStream, nameserver: Arc<Nameserver>) {
    while let Ok(Ok(question)) =
        tokio::time::timeout(IDLE, resolver::read_message(&mut stream)).await
    {
        let Some(answer) = nameserver.answer(&question, Transport::Tcp).await else {
            return;
        };
        if resolver::write_message(&mut stream, &answer).await.is_err() {
            return;
        }
    }
}
