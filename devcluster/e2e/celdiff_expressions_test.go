package e2e

import "strings"

// Expressions of the policies of celdiff, one a line, by what they are about.
// Some have no value for some objects, and some never have one: an error is a
// decision too.
const (
	anyExpressions = `
object.metadata.name.startsWith('a')
has(object.metadata.labels) && 'app' in object.metadata.labels
object.metadata.?labels['app'].orValue('none') != 'none'
object.metadata.labels.all(k, v, k.size() + v.size() < 12)
object.metadata.?labels.orValue({}).transformList(k, v, k + '=' + v).size() < 3
object.metadata.?annotations.orValue({}).transformMap(k, v, v.size()).all(k, n, n < 10)
object.metadata.?annotations.orValue({}).transformMapEntry(k, v, {v: k}).size() < 2
object.metadata.?labels.orValue({}).existsOne(k, v, v == 'web')
request.operation in ['CREATE', 'UPDATE']
request.userInfo.username.startsWith('system:serviceaccount:') || 'devs' in request.userInfo.groups
request.?dryRun.orValue(false)
request.kind.kind == 'Pod' || request.resource.resource.endsWith('s') && request.requestKind.version == 'v1'
request.?subResource.orValue('') == ''
request.options.?fieldManager.orValue('') != 'robot'
has(request.userInfo.extra) && request.userInfo.extra.exists(k, k == 'request')
namespaceObject.metadata.labels['env'] == 'prod'
namespaceObject == null || has(namespaceObject.metadata.labels.team)
namespaceObject.metadata.annotations['owner'].size() > 3
oldObject == null || oldObject.metadata.name == object.metadata.name
oldObject != null || object.metadata.name.size() < 9
oldObject == null || object == null || oldObject.metadata.?labels == object.metadata.?labels
object.metadata.name.matches('^[a-z]+(-[a-z0-9]+)*$')
object.metadata.name.find('[0-9]+') == '' || int(object.metadata.name.find('[0-9]+')) % 3 != 0
object.metadata.name.findAll('[a-z]').size() < 8
!format.dns1123Label().validate(object.metadata.name).hasValue()
format.named('dns1123Subdomain').value().validate(object.metadata.name).orValue([]).size() == 0
!format.labelValue().validate(object.metadata.?labels['app'].orValue('-')).hasValue()
object.metadata.name.upperAscii().lowerAscii() == object.metadata.name
object.metadata.name.split('-').size() < 2 || object.metadata.name.split('-', 2)[1] != '1'
object.metadata.name.charAt(0) in ['a', 'b', 'c']
object.metadata.name.replace('a', 'b', 1) != object.metadata.name
object.metadata.name.substring(3).indexOf('e') < 2
object.metadata.name.lastIndexOf('-') < 4
'%s has %d letters, %.2f'.format([object.metadata.name, object.metadata.name.size(), 1.5]).size() < 24
sets.contains(['app', 'tier', 'x'], object.metadata.labels.map(k, k))
sets.intersects(['app'], object.metadata.labels.map(k, k)) || sets.equivalent([1, 2], [2, 1, 1])
type(object.metadata.name) == string && type(object.metadata) == map
timestamp(object.metadata.creationTimestamp) > timestamp('2020-01-01T00:00:00Z')
duration('90m') > duration('1h') && timestamp('2024-02-29T12:00:00Z').getDayOfYear('Europe/Berlin') == 59
[1, 2, 3].map(i, i * object.metadata.name.size()).exists(n, n == 18)
[string(object.metadata.name), 'm'].isSorted()
dyn(object.metadata.name) == 5 || dyn(1.0) == 1
[int(object.metadata.?generation.orValue(1)), 2].max() == 2
[['a', 'b'], ['c']].map(l, l.size()).sum() == 3 && ['a', 'b', 'a'].lastIndexOf('a') == 2
{'a': 1, 'b': 2}.exists(k, k == object.metadata.name.charAt(0))
[object.metadata.name].all(n, n.size() < 7 || n.endsWith('1'))
optional.of(object.metadata.name).optMap(n, n.size()).value() > 5
[?object.metadata.?labels['app'], ?object.metadata.?labels['tier']].size() < 2`

	// Expressions that have no value for most objects.
	erringExpressions = `
object.nothere == 1
object.metadata.labels.nothere == 'x'
1 / (object.metadata.name.size() - object.metadata.name.size()) == 0
int(object.metadata.name) > 0
quantity(object.metadata.name).isGreaterThan(quantity('1'))
object.metadata.name > 3
[1, 2][5] == 1
semver(object.metadata.name).major() == 1
url(object.metadata.name).getHost() == ''
ip(object.metadata.name).family() == 4
cidr(object.metadata.name).prefixLength() == 8
timestamp(object.metadata.name) > timestamp('2020-01-01T00:00:00Z')
object.metadata.name.matches(object.metadata.name + '(')
object.metadata.name.substring(100) == ''
namespaceObject.metadata.labels.nothere == 'x'
object.metadata.?nothere.value() == 1
oldObject.metadata.name == object.metadata.name
object.metadata.labels.map(k, int(k)).size() == 1
dyn([1]).all(x, x.size() > 0)
duration(object.metadata.name) > duration('1s')
9223372036854775807 + object.metadata.name.size() > 0
object.spec.nothere.all(x, true)
[].min() == 3`

	podExpressions = `
object.spec.containers.all(c, c.image.startsWith('registry.example.com/'))
object.spec.containers.all(c, !c.?securityContext.?privileged.orValue(false))
object.spec.?hostNetwork.orValue(false) == false
!has(object.spec.hostPID) && !has(object.spec.hostIPC)
object.spec.containers.all(c, quantity(c.resources.limits.memory).isLessThan(quantity('1Gi')))
object.spec.containers.all(c, quantity(c.?resources.?requests.?cpu.orValue('100m')).compareTo(quantity('500m')) <= 0)
object.spec.containers.all(c, quantity(c.resources.limits.memory).add(quantity('64Mi')).sub(1).asApproximateFloat() < 2.0e9)
object.spec.containers.map(c, c.?resources.?limits.?memory.orValue('x')).all(q, isQuantity(q))
object.spec.containers.all(c, !has(c.resources.limits) || quantity(c.resources.limits.memory).asInteger() > 10000)
object.spec.containers.map(c, c.name).isSorted()
object.spec.containers.exists_one(c, c.name == 'app')
object.spec.containers.filter(c, c.image.contains(':latest')).size() == 0
object.spec.containers.all(i, c, c.name != 'c' + string(i))
object.spec.containers.all(c, c.?ports.orValue([]).all(p, p.containerPort > 1024))
object.spec.?tolerations.orValue([]).size() < 3
object.spec.volumes.exists(v, v.name.startsWith('kube-api-access-'))
object.spec.containers.transformList(i, c, i > 0, c.image).size() == 0
object.spec.containers.all(c, c.imagePullPolicy == 'IfNotPresent')
object.spec.?securityContext.?runAsUser.orValue(0) > 999
object.spec.serviceAccountName == 'default' && object.spec.terminationGracePeriodSeconds / 3 == 10
(object.spec.containers + object.spec.?initContainers.orValue([])).map(c, c.name).size() < 3
object.spec.containers.all(c, c.?env.orValue([]).all(e, e.name.matches('^[A-Z_]+$')))
object.status.qosClass != 'BestEffort'
object.spec.priority == 0 || object.spec.enableServiceLinks`

	deploymentExpressions = `
object.spec.replicas <= 5
object.spec.replicas > 0 && object.spec.replicas % 2 == 1
object.spec.template.spec.containers.all(c, c.image.matches('^registry[.]example[.]com/[a-z]+:v[0-9]+$'))
object.spec.selector.matchLabels == object.spec.template.metadata.labels
object.spec.strategy.type == 'RollingUpdate' && object.spec.strategy.rollingUpdate.maxSurge == '25%'
oldObject == null || object.spec.replicas - oldObject.spec.replicas < 3
oldObject.spec.template == object.spec.template
object.spec.template.metadata.?annotations['sidecar'].orValue('no') == 'no'
object.spec.template.spec.containers.map(c, c.?resources.?requests.?cpu.orValue('1')).map(q, quantity(q)).all(q, q.isLessThan(quantity('1500m')))
object.spec.progressDeadlineSeconds == 600 && object.spec.revisionHistoryLimit >= 10
!(has(object.spec.paused) && object.spec.paused)`

	configMapExpressions = `
!has(object.data.url) || url(object.data.url).getScheme() == 'https'
isURL(object.data.url) && url(object.data.url).getHostname().endsWith('.example.com')
url(object.data.url).getPort() in ['', '443'] && url(object.data.url).getQuery().size() == 0
url(object.data.url).getEscapedPath() == '/a%20b'
ip(object.data.ip).family() == 4
isIP(object.data.ip) && cidr('10.0.0.0/8').containsIP(ip(object.data.ip))
cidr('10.0.0.0/8').containsIP(object.data.ip) || ip(object.data.ip).isLoopback()
cidr(object.data.cidr).masked() == cidr(object.data.cidr) && cidr(object.data.cidr).prefixLength() > 7
cidr('10.0.0.0/8').containsCIDR(object.data.cidr) && isCIDR(object.data.cidr)
semver(object.data.version).isGreaterThan(semver('1.2.3'))
isSemver(object.data.version) && semver(object.data.version).minor() < 3
semver(object.data.version, true).compareTo(semver('v2', true)) < 0
object.data.all(k, k.matches('^[a-z]+$'))
object.data.all(k, v, v.size() < 30)
object.data.exists(k, object.data[k].contains('secret'))
object.?immutable.orValue(false) == false
object.data.?json.orValue('{}').startsWith('{')
int(object.data.number) < 100 && double(object.data.number) > 1.5
bool(object.data.flag) || string(1.5) == '1.5'
quantity(object.data.number).isInteger() && sign(quantity(object.data.number)) >= 0
object.data.number.reverse() == object.data.number
object.data.text.trim() == object.data.text && !object.data.text.contains('\n')`

	serviceExpressions = `
object.spec.type in ['ClusterIP', 'NodePort']
object.spec.ports.all(p, p.port < 10000)
object.spec.ports.map(p, p.port).sum() < 9000 && object.spec.ports.map(p, p.port).min() > 79
object.spec.ports.all(p, type(p.targetPort) == int)
object.spec.clusterIP == 'None' || cidr('10.96.0.0/16').containsIP(object.spec.clusterIP)
object.spec.?externalIPs.orValue([]).all(i, cidr('192.168.0.0/16').containsIP(i))
object.spec.ports.all(p, p.protocol == 'TCP' && p.?name.orValue('') != 'debug')
object.spec.selector == {'app': 'web'}
object.spec.ipFamilies[0] == 'IPv4' && object.spec.sessionAffinity == 'None'`

	widgetExpressions = `
object.spec.size > 3
object.spec.ratio < 0.5
object.spec.ratio * 2.0 < 3.0
string(object.spec.ratio) == '2'
type(object.spec.ratio) == double
object.spec.extra.two / 2 == 1
type(object.spec.extra.two) == int && object.spec.extra.large / 2 > 5
object.spec.tags.all(t, t.size() < 5)
object.spec.tags.all(i, t, i == 0 || t > object.spec.tags[i - 1])
object.spec.?extra.?deep.?value.orValue(0) == 0
object.spec.extra.deep.value == 3 || object.spec.extra.list[1] == 'b'
object.?status.?phase.orValue('Pending') == 'Pending'
object.spec.kind == 'small' ? object.spec.size < 3 : object.spec.size < 9
object.spec.size == oldObject.spec.size
duration(object.spec.every) >= duration('10s')
object.spec.extra.exists(k, type(object.spec.extra[k]) == double)
object.apiVersion == 'celdiff.example.com/v1' && object.kind == 'Widget'`

	secretExpressions = `
object.type == 'Opaque'
object.?data.orValue({}).size() < 2
object.data.all(k, v, v.size() < 12)
!has(object.stringData) && object.data.exists(k, k == 'token')`

	namespaceExpressions = `
object.metadata.labels.env in ['prod', 'dev']
object.metadata.labels['pod-security.kubernetes.io/enforce'] == 'restricted'
object.spec.finalizers == ['kubernetes']
namespaceObject == null
request.namespace == object.metadata.name`

	scaleExpressions = `
object.spec.replicas < 6
object.spec.replicas >= oldObject.spec.replicas
object.kind == 'Scale' && request.subResource == 'scale' && request.kind.group == 'autoscaling'`

	connectExpressions = `
object.?command.orValue([]).size() < 2
object.?container.orValue('') != 'debug'
!object.?stdin.orValue(false) && request.operation == 'CONNECT'
object.kind == 'PodExecOptions' && request.subResource == 'exec'
object.?path.orValue('') == '/metrics'
request.name.endsWith('1') && oldObject == null`

	authorizerExpressions = `
authorizer.group('').resource('pods').namespace('default').check('create').allowed()
authorizer.group('apps').resource('deployments').subresource('scale').namespace(request.?namespace.orValue('default')).name('d1').check('update').allowed()
authorizer.group('coordination.k8s.io').resource('leases').namespace('default').check('get').allowed()
authorizer.group('coordination.k8s.io').resource('leases').namespace('default').name('one').check('update').allowed()
authorizer.group('').resource('nodes').name('n1').check('get').reason().contains('ops-nodes')
authorizer.group('').resource('nodes').check('list').reason() == ''
authorizer.group('').resource('nodes').check('list').errored() || authorizer.group('').resource('nodes').check('list').error() != ''
authorizer.path('/healthz').check('get').allowed()
authorizer.path('/metrics').check('get').allowed()
authorizer.serviceAccount('default', 'robot').group('').resource('endpoints').namespace('default').check('get').allowed()
authorizer.serviceAccount('default', 'nobody').path('/metrics').check('get').allowed()
authorizer.serviceAccount('default', 'robot').group('coordination.k8s.io').resource('leases').namespace('kube-system').check('list').allowed()
authorizer.requestResource.check('delete').allowed()
authorizer.requestResource.check('bless').allowed()
authorizer.group('').resource('nodes').fieldSelector('metadata.name=n1').check('list').allowed()
authorizer.group('').resource('nodes').labelSelector('app=web, tier in (a, b)').check('list').allowed()
authorizer.group('').resource('nodes').labelSelector('app==').fieldSelector('a!').check('list').allowed()
authorizer.group('celdiff.example.com').resource('widgets').subresource('approve').namespace('default').check('update').allowed()`

	// variableExpressions are about any object, and give anything.
	variableExpressions = `
object.metadata.name
object.metadata.?labels.orValue({})
object.metadata.name.size()
request.userInfo.username
request.userInfo.groups.filter(g, !g.startsWith('system:'))
namespaceObject.metadata.labels.env
oldObject == null ? 'new' : 'old'
object.metadata.nothere
object.?spec.?replicas.orValue(1)
[string(object.metadata.name), request.operation].join('/')
{'name': object.metadata.name, 'operation': dyn(request.operation)}
optional.ofNonZeroValue(object.metadata.?labels['app'].orValue(''))
quantity('1Gi').add(quantity('1Mi'))
timestamp('2024-01-01T00:00:00Z')
int(object.metadata.name)
null
object.metadata.labels.map(k, k)
b'bytes'`
)

func expressionsOf(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") }
