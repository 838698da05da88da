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
            Transport::Udp => question.edns.map_or(PLAIN_DATAGRAM, |e| e.max_payload().max(PLAIN_DATAGRAM)),
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
            Meaning::Known(Records { answers, additionals }) => {
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
    while let Ok(Ok(question)) = tokio::time::timeout(IDLE, resolver::read_message(&mut stream)).await {
        let Some(answer) = nameserver.answer(&question, Transport::Tcp).await else {
            return;
        };
        if resolver::write_message(&mut stream, &answer).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::op::Query;

    use super::*;

    fn question(name: &str, kind: RecordType) -> Vec<u8> {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message.to_vec().unwrap()
    }

    async fn ask(name: &str, kind: RecordType) -> Message {
        let nameserver = Nameserver::new(zone::tests::zone(), Resolver::none());
        let asked = question(name, kind);
        let answer = nameserver.answer(&asked, Transport::Udp).await.unwrap();
        assert_eq!(asked.get(..2), answer.get(..2), "the same id");
        Message::from_vec(&answer).unwrap()
    }

    #[tokio::test]
    async fn answers_carry_code_authority_and_additionals() {
        let found = ask("web.shop.svc.cluster.local.", RecordType::A).await;
        assert_eq!(found.metadata.response_code, ResponseCode::NoError);
        assert_eq!(found.answers.first().unwrap().ttl, 5);
        assert!(found.metadata.authoritative && found.authorities.is_empty());

        let no_data = ask("web.shop.svc.cluster.local.", RecordType::AAAA).await;
        assert_eq!(no_data.metadata.response_code, ResponseCode::NoError);
        assert_eq!((no_data.answers.len(), no_data.authorities.len()), (0, 1));

        let unknown = ask("nope.shop.svc.cluster.local.", RecordType::A).await;
        assert_eq!(unknown.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(unknown.authorities.len(), 1);

        let srv = ask("_http._tcp.web.shop.svc.cluster.local.", RecordType::SRV).await;
        assert_eq!((srv.answers.len(), srv.additionals.len()), (1, 1));
    }

    #[tokio::test]
    async fn without_anybody_to_ask_on_the_rest_fails() {
        let foreign = ask("example.com.", RecordType::A).await;
        assert_eq!(foreign.metadata.response_code, ResponseCode::ServFail);
        let alias = ask("mail.shop.svc.cluster.local.", RecordType::A).await;
        assert_eq!(alias.answers.len(), 1, "the alias itself is known");
        assert_eq!(alias.metadata.response_code, ResponseCode::ServFail);
    }

    #[tokio::test]
    async fn what_is_no_question_gets_no_answer() {
        let nameserver = Nameserver::new(zone::tests::zone(), Resolver::none());
        assert_eq!(nameserver.answer(b"hello", Transport::Udp).await, None);
    }

    #[test]
    fn long_answers_are_cut_for_datagrams() {
        let mut message = Message::response(7, OpCode::Query);
        let name = Name::from_ascii("db.shop.svc.cluster.local.").unwrap();
        message.add_query(Query::query(name.clone(), RecordType::A));
        for byte in 0..100 {
            let address = hickory_proto::rr::rdata::A(Ipv4Addr::new(10, 0, 0, byte));
            let data = hickory_proto::rr::RData::A(address);
            message.add_answer(hickory_proto::rr::Record::from_rdata(name.clone(), 5, data));
        }
        let cut = encode(&message, PLAIN_DATAGRAM).unwrap();
        assert!(cut.len() <= 512);
        assert!(Message::from_vec(&cut).unwrap().metadata.truncation);
        assert!(encode(&message, u16::MAX).unwrap().len() > 512);
    }
}
