package peer;

import com.alipay.sofa.rpc.config.ApplicationConfig;
import com.alipay.sofa.rpc.config.ConsumerConfig;

/** Consumers of {@link HelloService} at an address. */
final class Consumers {
  /** Long enough for a first call on a loaded machine. */
  static final int TIMEOUT_MS = 15_000;

  private Consumers() {}

  static <T> ConsumerConfig<T> at(int port) {
    return new ConsumerConfig<T>()
        .setInterfaceId(HelloService.class.getName())
        .setProtocol("bolt")
        .setDirectUrl("bolt://127.0.0.1:" + port)
        .setConnectTimeout(5000)
        .setRepeatedReferLimit(-1)
        .setTimeout(TIMEOUT_MS)
        .setRegister(false)
        .setApplication(new ApplicationConfig().setAppName("peer-consumer"));
  }

  static HelloService hello(int port) {
    return Consumers.<HelloService>at(port).refer();
  }
}
