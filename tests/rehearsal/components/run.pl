# One run. It takes SECONDS, and ends badly where FAILS is set.
ask('run', 'digest', $host, 'started', $host); pause($ENV{SECONDS} // 1);
ask('run', 'digest', $host, $ENV{FAILS} ? 'failed' : 'succeeded', $host);
