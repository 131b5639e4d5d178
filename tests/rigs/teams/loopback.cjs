// Loaded before the playground, which would listen on every address of the machine: loopback alone.
const net = require("node:net");
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {
  return typeof port === "number" || /^\d+$/.test(port)
    ? listen.call(this, { port: Number(port), host: "127.0.0.1" }, rest.find((one) => typeof one === "function"))
    : listen.call(this, port, ...rest);
};
