# A command for the fault `queueRedelivery`.
exit(ask('redeliver') ne 'ok');
